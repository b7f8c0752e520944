"""A test that measures time has the machine to itself, also when the suite runs in several processes."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.quiet import room


class Visitor:
    """A thread that enters the room, and stays until it is told to leave."""

    def __init__(self, quiet: bool, gate: Path, shared: Path) -> None:
        self.inside = threading.Event()
        self.leave = threading.Event()
        self.thread = threading.Thread(target=self._visit, args=(quiet, gate, shared))
        self.thread.start()

    def _visit(self, quiet: bool, gate: Path, shared: Path) -> None:
        with room(quiet, gate, shared):
            self.inside.set()
            self.leave.wait(30)

    def end(self) -> None:
        """Leave, and wait until it has left."""
        self.leave.set()
        self.thread.join(30)


Enter = Callable[[bool], Visitor]


@pytest.fixture
def enter(tmp_path: Path) -> Iterator[Enter]:
    """Starts visitors; all leave at the end."""
    gate, shared = tmp_path / "gate", tmp_path / "shared"
    gate.touch()
    shared.touch()
    visitors: list[Visitor] = []

    def start(quiet: bool) -> Visitor:
        visitors.append(Visitor(quiet, gate, shared))
        return visitors[-1]

    yield start
    for visitor in visitors:
        visitor.end()


def wait_at_the_gate(gate: Path) -> None:
    """Wait until somebody holds the gate: a visitor that has to wait for the room."""
    for _ in range(1000):
        with gate.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def test_ordinary_tests_run_side_by_side(enter: Enter) -> None:
    first, second = enter(False), enter(False)
    assert first.inside.wait(10)
    assert second.inside.wait(10)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_a_quiet_one_runs_alone(enter: Enter, tmp_path: Path, first: bool, second: bool) -> None:
    before = enter(first)
    assert before.inside.wait(10)
    after = enter(second)
    wait_at_the_gate(tmp_path / "gate")
    assert not after.inside.wait(0.1)
    before.end()
    assert after.inside.wait(10)


def test_a_quiet_one_that_waits_is_the_next(enter: Enter, tmp_path: Path) -> None:
    """Ordinary ones that come later do not overtake it, however many there are."""
    before = enter(False)
    assert before.inside.wait(10)
    quiet = enter(True)
    wait_at_the_gate(tmp_path / "gate")
    later = enter(False)
    assert not later.inside.wait(0.1)
    before.end()
    assert quiet.inside.wait(10)
    assert not later.inside.is_set()
    quiet.end()
    assert later.inside.wait(10)
