"""Gives memory back to the system after much of it was in buffers.

glibc keeps what was freed, unless it is at the end of its heap: after 150 clients that did not read 8 MB each, 750 MiB
stayed with the process for good, though nothing used them (measured). In a container that counts against the workers.
`malloc_trim` gives back whole pages from the middle, too. It stops everything for 150 ms per gigabyte, which is why it
waits for a moment in which no worker is busy. Other C libraries have no such function, and need it less.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

LEAST = 32 * 1024 * 1024
"""Bytes that were in buffers at once, below which it is not worth it."""

FREED_TO = 0.25
"""Share of these bytes that is still in use when most of it counts as freed."""

QUIET_SECONDS = 2.0
"""How long that has to last, since memory that is used again at once is better kept; and until it is tried again."""

TRIES = 15
"""How often it is put off because a worker is busy: half a minute. With steady load there may be no such moment."""


def system_trim() -> Callable[[], object] | None:
    """Return the function of the C library that gives memory back; None if it has none."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda: trim(0)


class Trimmer:
    """Told how many bytes are in buffers, it calls `trim` a while after most were freed, when it is not `busy`."""

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
        """So many bytes are in use now."""
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
