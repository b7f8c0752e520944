"""Pauses of this process: times in which it was stopped by a signal, or its machine was suspended or stalled.

After a pause all timers are due at once, although the responses of workers and the bytes of clients may have arrived in
time: they are in the kernel, unread. So pauses do not count towards a deadline, and a timer that fires late lets the
loop read first. That applies to every deadline of a service, which uses `timeout` from here instead of asyncio's.
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
"""Seconds between two beats, which note that this process runs."""

PAUSE_SECONDS = 1.0
"""A beat that is later than this, in seconds, counts as a pause. A loop that is merely busy is milliseconds late."""

KEPT = 100
"""The number of latest pauses that are remembered: enough for any deadline."""

LATE_SECONDS = 0.1
"""A timer that fires later than this, in seconds, first lets the loop read arrived data, and then checks again."""

EARLIEST = 0.001
"""The least delay of a timer, in seconds: uvloop's clock counts milliseconds, and a timer may fire that much early."""


class Pauses:
    """Detects the pauses of this process while a loop runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._noted = monotonic()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._timer = loop.call_later(BEAT_SECONDS, self._beat)
        _noticed[loop] = self

    def since(self, moment: float) -> float:
        """Return the seconds after `moment` (monotonic clock) in which this process was paused."""
        self._note()
        return sum(min(seconds, end - moment) for end, seconds in self._pauses if end > moment)

    def after(self, seconds: float, callback: Callable[[], object]) -> Later:
        """Call `callback` after `seconds`, not counting pauses."""
        return Later(self._loop, self, seconds, callback)

    def close(self) -> None:
        """Stop detecting pauses."""
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
    """A pending call that is due after a time in seconds, not counting pauses."""

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
        """Cancel the call."""
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
"""The loops for which pauses are detected: those of a service."""


@contextlib.asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Cancel the block after `seconds`, not counting pauses, and raise TimeoutError.

    If no pauses are detected for the loop, as in a short command, this is the same as `asyncio.timeout`.
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
    """Return how many of `seconds` since `began` (monotonic clock) are left, not counting pauses; negative if over."""
    noticed = _noticed.get(asyncio.get_running_loop())
    paused = 0.0 if noticed is None else noticed.since(began)
    return began + seconds + paused - monotonic()
