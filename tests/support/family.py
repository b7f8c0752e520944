"""Wait until dead children are reaped, and until the marks of a process can be read."""

from __future__ import annotations

from time import monotonic, sleep

from faucet.workers.kin import Process, read_marks, scan


def dead_children(pid: int) -> list[Process]:
    """The children of a process that have ended and were not reaped."""
    return [process for process in scan(1 << 60).values() if process.parent == pid and process.state == "Z"]


def wait_reaped(pid: int, seconds: float = 5) -> None:
    """Wait until a process has no dead children."""
    deadline = monotonic() + seconds
    while dead := dead_children(pid):
        assert monotonic() < deadline, f"{len(dead)} zombies"
        sleep(0.02)


def wait_marked(pid: int) -> None:
    """Wait until the marks of a process can be read: a moment after the program was executed."""
    deadline = monotonic() + 5
    while not read_marks(pid):
        assert monotonic() < deadline
