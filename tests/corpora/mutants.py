"""`just mutants`: change the locks and the rules of failure, one slip at a time, and run their unit tests on each.

A mutant that no test notices survives, is printed, and makes the exit code 1; unless it is in EQUAL, with the reason
why it is no mutant at all. Each runs in a process forked from this one, in which the changed module is put before the
tests import it; nothing is written to a file.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import hypothesis.stateful
import pytest

from tests.corpora.equal import EQUAL
from tests.corpora.mutation import Mutation, mutations
from tests.support.checkout import ROOT

MODULES = {
    "faucet.proxy.locks": "tests/unit/proxy/test_dispatch.py",
    "faucet.proxy.failures": "tests/unit/proxy/test_failures.py",
}
"""What is changed, and the tests that are to notice."""

SECONDS = 60
"""After which a mutant counts as noticed: it loops."""

SIDE_BY_SIDE = max(os.cpu_count() or 1, 2)

SURVIVED, LOOPED = 0, 124


def path_of(module: str) -> Path:
    """Where a module is."""
    return ROOT / f"{module.replace('.', '/')}.py"


def judge(module: str, source: str, tests: str) -> int:
    """In a process of its own: the exit code of the tests, with this source for that module."""
    signal.alarm(SECONDS)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(LOOPED))
    changed = types.ModuleType(module)
    changed.__file__ = str(path_of(module))
    sys.modules[module] = changed
    try:
        exec(compile(source, changed.__file__, "exec"), changed.__dict__)
    except Exception:  # what cannot be imported is noticed
        return 1
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-m", "not quiet"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported before the fork
    return int(pytest.main([*options, str(ROOT / tests)]))


def fork(work: Callable[[], int]) -> int:
    """Start a process that does this, without a word; its id."""
    if pid := os.fork():
        return pid
    code = 1
    with suppress(BaseException):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = work()
    os._exit(code)


def run(module: str, tests: str, candidates: Iterable[Mutation]) -> list[Mutation]:
    """The survivors."""
    running: dict[int, Mutation] = {}
    survivors = []

    def reap() -> None:
        pid, status = os.wait()
        mutation = running.pop(pid)
        if os.waitstatus_to_exitcode(status) == SURVIVED:
            survivors.append(mutation)
            if mutation.change:
                print(f"survived: {path_of(module).name}:{mutation.line} {mutation.name}", flush=True)

    for mutation in candidates:
        if len(running) == SIDE_BY_SIDE:
            reap()
        running[fork(lambda source=mutation.source: judge(module, source, tests))] = mutation  # type: ignore[misc]
    while running:
        reap()
    return survivors


def examine(module: str) -> int:
    """Try all mutants of a module that are any; how many survived."""
    tests, began = MODULES[module], monotonic()
    everyone = list(mutations(path_of(module).read_text()))
    known = EQUAL[module]
    unknown = set(known) - {mutation.name for mutation in everyone}
    assert not unknown, f"in EQUAL, but no mutants: {unknown}"
    if run(module, tests, [Mutation(0, "", "", path_of(module).read_text())]) == []:
        sys.exit(f"{tests} fails without any mutant")
    real = [mutation for mutation in everyone if mutation.name not in known]
    survivors = run(module, tests, real)
    print(
        f"{module}: {len(real)} mutants, {len(survivors)} survived; {len(everyone) - len(real)} more change nothing"
        f" ({monotonic() - began:.0f} s)",
        flush=True,
    )
    return len(survivors)


def main(names: list[str]) -> int:
    """Those whose name ends with one of `names`; all, without any."""
    chosen = [module for module in MODULES if not names or module.endswith(tuple(names))]
    with tempfile.TemporaryDirectory(prefix="fct-") as directory:
        tempfile.tempdir = directory  # a process that loops is ended, and leaves its directories
        return int(sum(examine(module) for module in chosen) > 0)


assert hypothesis.stateful  # imported once, before the forks


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
