"""Times in which this process did not run: stopped by a signal, in a suspended machine, or on one that stalled.

After such a pause all timers are due at once, though nobody had the time that they were given: the answers of workers
and the bytes of clients are in the kernel, unread. So pauses do not count towards a deadline, and a timer that fires
late lets the loop read first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from faucet.units import format_duration

_log = logging.getLogger("faucet")

Result = TypeVar("Result")

BEAT_SECONDS = 1.0
"""How often it is noted that this process runs."""

PAUSE_SECONDS = 1.0
"""How late a note has to be, to be called a pause. A loop that is merely busy is a few milliseconds late."""

KEPT = 100
"""Pauses that are remembered: those that can matter for a deadline."""

EARLIEST = 0.001
"""Seconds a timer is set ahead at least: uvloop's clock counts milliseconds and may fire that much early."""


class Pauses:
    """The pauses of this process, noticed while a loop runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._noted = monotonic()
        self._pauses: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._timer = loop.call_later(BEAT_SECONDS, self._beat)

    def since(self, moment: float) -> float:
        """Return the seconds after `moment`, by the monotonic clock, in which this process did not run."""
        self._note()
        return sum(min(seconds, end - moment) for end, seconds in self._pauses if end > moment)

    def after(self, seconds: float, callback: Callable[[], object]) -> Later:
        """Call `callback` after so many seconds, pauses not counted."""
        return Later(self._loop, self, seconds, callback)

    async def within(self, seconds: float, awaitable: Awaitable[Result]) -> Result:
        """Await something for so many seconds, pauses not counted; then cancel it. Raises TimeoutError."""
        future = asyncio.ensure_future(awaitable)
        over = asyncio.Event()
        timer = self.after(seconds, over.set)
        waiting = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait((future, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise TimeoutError
            return future.result()
        finally:
            timer.cancel()
            waiting.cancel()
            if not future.done():
                future.cancel()
                await asyncio.wait((future,))

    def close(self) -> None:
        """Notice nothing more."""
        self._timer.cancel()

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
        else:
            self._callback()
