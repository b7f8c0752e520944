"""What each file of tests costs, in seconds of CPU: `just test-cost`, with pytest's options for a part of them.

It counts what pytest's process and the programs that a test has started and waited for have used, from the first
fixture to the last, in one process and one test after the other: so it takes as long as all tests do, alone. CPU time
is much the same on a busy machine; the time that passes is not. Fixtures of a session or module count for the test that
needs them first.
"""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Generator

import pytest

FILES, TESTS = 30, 15
"""How many are printed: files, and single tests."""


def spent() -> float:
    """Return the seconds of CPU that this process and its children, once they have been waited for, have used."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


class Cost:
    """A plugin of pytest that adds up what tests cost."""

    def __init__(self) -> None:
        self.began = spent()
        self.collecting = 0.0
        self.by_test: Counter[str] = Counter()

    def pytest_collection_finish(self) -> None:
        """Called by pytest."""
        self.collecting = spent() - self.began

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Called by pytest around each test with its fixtures."""
        before = spent()
        try:
            return (yield)
        finally:
            self.by_test[item.nodeid] += spent() - before  # type: ignore[assignment]

    def report(self) -> str:
        """Return the dearest files, with their number of tests, and the dearest tests."""
        by_file: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for name, seconds in self.by_test.items():
            by_file[name.partition("::")[0]] += seconds
            counts[name.partition("::")[0]] += 1
        total = sum(by_file.values())
        lines = [f"{total:.1f} s of CPU in {len(self.by_test)} tests, {self.collecting:.1f} s to collect them"]
        lines += [f"{seconds:8.1f} s {counts[name]:5} tests  {name}" for name, seconds in by_file.most_common(FILES)]
        lines += ["", "The dearest tests:"]
        lines += [f"{seconds:8.1f} s  {name}" for name, seconds in self.by_test.most_common(TESTS)]
        return "\n".join(lines)


def main(options: list[str]) -> int:
    """Run the tests that pytest's options select, and print what they cost. Return pytest's exit code."""
    cost = Cost()
    code = pytest.main(["-q", "-p", "no:cacheprovider", *options], plugins=[cost])
    print(f"\n{cost.report()}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
