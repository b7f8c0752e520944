"""The count of what tests cost: by file, the dearest first."""

from __future__ import annotations

import subprocess
import sys
from time import process_time
from types import SimpleNamespace
from typing import Any, cast

from tests.support.cost import Cost, spent


def run_test(cost: Cost, name: str, work: Any) -> None:
    """As pytest does: the wrapper, and the test in it."""
    wrapper = cast("Any", cost).pytest_runtest_protocol(cast("Any", SimpleNamespace(nodeid=name)))
    next(wrapper)
    work()
    try:
        wrapper.send(None)
    except StopIteration:
        return
    raise AssertionError("the wrapper goes on")


def burn() -> None:
    until = process_time() + 0.2
    while process_time() < until:
        pass


def test_the_dearest_comes_first() -> None:
    cost = Cost()
    run_test(cost, "tests/test_a.py::test_1", lambda: None)
    run_test(cost, "tests/test_b.py::test_1", burn)
    run_test(cost, "tests/test_b.py::test_2", burn)
    lines = cost.report().splitlines()
    assert [line.split()[2:] for line in lines[1:3]] == [
        ["2", "tests", "tests/test_b.py"],
        ["1", "tests", "tests/test_a.py"],
    ]
    assert lines[0].endswith("in 3 tests, 0.0 s to collect them")


def test_programs_that_a_test_starts_count() -> None:
    before = spent()
    subprocess.run(
        [sys.executable, "-I", "-c", "from time import process_time as t\nwhile t() < 0.3: pass"], check=True
    )
    assert spent() - before >= 0.3
