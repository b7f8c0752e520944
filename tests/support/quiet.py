"""Tests side by side, except those that measure time: nothing else may run meanwhile.

`pytest -n 2` has two processes. A test with the mark `quiet` has the machine to itself; all others share it.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

GATE = Path(__file__)
"""Its lock is taken by everybody, before the other one. Who waits for the other one holds it, and so is the next: a
quiet test would wait forever if the others took turns in sharing."""

ROOM = Path(__file__).with_name("__init__.py")
"""Its lock is shared by ordinary tests, and held by one quiet test alone. Both are files of the checkout: nothing is
left behind, and two runs in one checkout respect each other as well."""


@contextlib.contextmanager
def room(quiet: bool, gate: Path = GATE, shared: Path = ROOM) -> Iterator[None]:
    """Wait until a test may run. Until it has ended, no quiet test starts and, if it is `quiet` itself, no other."""
    with gate.open() as first, shared.open() as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_EX if quiet else fcntl.LOCK_SH)
        fcntl.flock(first, fcntl.LOCK_UN)
        yield
