"""Returns freed buffer memory to the system.

glibc keeps freed memory, unless it is at the end of the heap: after 150 clients that did not read 8 MB each, the
process kept 750 MiB for good, though they were unused (measured). In a container that leaves less for the workers.
`malloc_trim` also returns whole pages from the middle of the heap. It blocks the process for 150 ms per gigabyte, so it
is called when no worker is busy. Other C libraries have no such function, and need it less.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

LEAST = 32 * 1024 * 1024
"""The peak of buffered bytes below which trimming is not worth its cost."""

FREED_TO = 0.25
"""Share of the peak up to which bytes may still be in use for the memory to count as freed."""

QUIET_SECONDS = 2.0
"""Seconds that the memory must stay freed, since memory that is soon reused is better kept; also the retry interval."""

TRIES = 15
"""How often trimming is put off because a worker is busy: half a minute. Under steady load a worker is always busy."""


def system_trim() -> Callable[[], object] | None:
    """Return the C library's function that returns memory to the system; None if it has none."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda: trim(0)


class Trimmer:
    """Calls `trim` a while after most of the buffered bytes were freed, if possible while `busy` returns False."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, trim: Callable[[], object] | None, busy: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._trim = trim
        self._busy = busy
        self._tries = 0
        self._used = 0
        self._peak = 0
        self._timer: asyncio.TimerHandle | None = None

    def note(self, used: int) -> None:
        """Take the number of bytes in use now. Called whenever it changes."""
        self._used = used
        if used > self._peak:
            self._peak = used
        elif self._timer is None and self._trim is not None and self._is_freed():
            self._tries = 0
            self._timer = self._loop.call_later(QUIET_SECONDS, self._fire)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _is_freed(self) -> bool:
        return self._peak >= LEAST and self._used <= self._peak * FREED_TO

    def _fire(self) -> None:
        self._timer = None
        if not self._is_freed() or self._trim is None:
            return
        if self._busy() and self._tries < TRIES:
            self._tries += 1
            self._timer = self._loop.call_later(QUIET_SECONDS, self._fire)
            return
        self._peak = self._used
        self._trim()
