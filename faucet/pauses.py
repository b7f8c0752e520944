"""Times in which this process did not run: stopped by a signal, in a suspended machine, or on one that stalled.

After such a pause all timers are due at once, though nobody had the time that they were given: the answers of workers
and the bytes of clients are in the kernel, unread. So pauses do not count towards a deadline, and a timer that fires
late lets the loop read first. That holds for every deadline of a service: `timeout` is what asyncio's is elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from time import monotonic
from weakref import WeakKeyDictionary

from faucet.units import format_duration

_log = logging.getLogger("faucet")

BEAT_SECONDS = 1.0
"""How often it is noted that this process runs."""

PAUSE_SECONDS = 1.0
"""How late a note has to be, to be called a pause. A loop that is merely busy is a few milliseconds late."""

KEPT = 100
"""Pauses that are remembered: those that can matter for a deadline."""

LATE_SECONDS = 0.1
"""A timer that fires so late lets the loop read what has arrived, and looks again."""

EARLIEST = 0.001
"""Seconds a timer is set ahead at least: uvloop's clock counts milliseconds and may fire that much early."""


class Pauses:
    """The pauses of this process, noticed while a loop runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._noted = monotonic()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._timer = loop.call_later(BEAT_SECONDS, self._beat)
        _noticed[loop] = self

    def since(self, moment: float) -> float:
        """Return the seconds after `moment`, by the monotonic clock, in which this process did not run."""
        self._note()
        return sum(min(seconds, end - moment) for end, seconds in self._pauses if end > moment)

    def after(self, seconds: float, callback: Callable[[], object]) -> Later:
        """Call `callback` after so many seconds, pauses not counted."""
        return Later(self._loop, self, seconds, callback)

    def close(self) -> None:
        """Notice nothing more."""
        self._timer.cancel()
        if _noticed.get(self._loop) is self:
            del _noticed[self._loop]

    def _beat(self) -> None:
        self._note()
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _note(self) -> None:
        now = monotonic()
        gap, self._noted = now - self._noted, now
        if gap > BEAT_SECONDS + PAUSE_SECONDS:
            self._pauses.append((now, gap))
            _log.warning(
                "Faucet was paused for %s (stopped, or the machine was suspended or stalled); no deadline counts that",
                format_duration(gap),
            )


class Later:
    """A call that is due after some time in which this process ran."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pauses: Pauses, seconds: float, callback: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._pauses = pauses
        self._began = monotonic()
        self._late = False
        self._seconds = seconds
        self._callback = callback
        self._timer = loop.call_later(seconds, self._fire)

    def cancel(self) -> None:
        """Do not call."""
        self._timer.cancel()

    def _fire(self) -> None:
        left = self._began + self._seconds + self._pauses.since(self._began) - monotonic()
        if left > EARLIEST:
            self._timer = self._loop.call_later(left, self._fire)
        elif left < -LATE_SECONDS and not self._late:
            self._late = True
            self._timer = self._loop.call_later(EARLIEST, self._fire)
        else:
            self._callback()


_noticed: WeakKeyDictionary[asyncio.AbstractEventLoop, Pauses] = WeakKeyDictionary()
"""The loops whose pauses are noticed: those of a service."""


@contextlib.asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Cancel what is awaited in the block after so many seconds, pauses not counted, and raise TimeoutError.

    Where no pauses are noticed, as in a command of a moment, it is `asyncio.timeout`.
    """
    loop = asyncio.get_running_loop()
    noticed = _noticed.get(loop)
    async with asyncio.timeout(seconds if noticed is None else None) as scope:
        later = None if noticed is None else noticed.after(seconds, lambda: scope.reschedule(loop.time()))
        try:
            yield
        finally:
            if later is not None:
                later.cancel()


def left(seconds: float, began: float) -> float:
    """Return how many of the `seconds` from `began` on, by the monotonic clock, are left; negative if they are over."""
    noticed = _noticed.get(asyncio.get_running_loop())
    paused = 0.0 if noticed is None else noticed.since(began)
    return began + seconds + paused - monotonic()
