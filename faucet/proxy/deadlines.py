"""Deadlines for very many items, at the cost of a dictionary entry each.

All items of one `Timeouts` have the same timeout, so the item touched longest ago always expires first. A dictionary,
which keeps its order, is therefore the priority queue, and one timer for its first entry serves all items. A timer per
request would cost more than the rest of the request's bookkeeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from time import monotonic
from typing import Generic, TypeVar

from faucet.pauses import EARLIEST, LATE_SECONDS

Item = TypeVar("Item", bound=Hashable)

DRAIN_SECONDS = 5.0
"""During a shutdown: seconds in which a request that has begun must arrive, and in which a client that sends or reads
must make progress. A TCP connection that has lost a packet recovers within that time."""

RATE_SECONDS = 60.0
"""Seconds over which the rate of a client is averaged if `client_timeout` is 0."""


class Timeouts(Generic[Item]):
    """Calls `expired(item)` when an item was not touched for `seconds`; never, if `seconds` is 0.

    `paused(moment)` returns the seconds since `moment` that do not count towards the timeout.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        expired: Callable[[Item], None],
        paused: Callable[[float], float] = lambda moment: 0.0,
    ) -> None:
        self._loop = loop
        self._paused = paused
        self._late = False
        """Whether the timer has fired late, and was set again for the next turn of the loop."""
        self._seconds = seconds
        self._expired = expired
        self._touched: dict[Item, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._touched)

    def oldest(self) -> Iterator[Item]:
        """Iterate over all items, the one touched longest ago first. Do not touch or discard items meanwhile."""
        return iter(self._touched)

    def __contains__(self, item: object) -> bool:
        return item in self._touched

    def patience(self, item: Item) -> float:
        """Return the timeout of `item`, in seconds from when it was touched."""
        return self._seconds

    def touch(self, item: Item) -> None:
        """Start the timeout of `item` again from now."""
        self.touch_at(item, monotonic())

    def touch_at(self, item: Item, now: float) -> None:
        """As touch, for a caller that has just looked at the clock."""
        if not self._seconds:
            return
        touched = self._touched
        if item in touched:
            del touched[item]  # so that it goes to the end
        touched[item] = now
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._sweep)

    def discard(self, item: Item) -> None:
        """Remove `item`, if present. The timer is not cancelled: it ignores the item when it fires."""
        self._touched.pop(item, None)

    def close(self) -> None:
        """Remove all items and cancel the timer."""
        self._touched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        if self._has_to_read_first():
            self._timer = self._loop.call_later(EARLIEST, self._sweep)
            return
        # `_timer` keeps the timer that has fired until the end, so that `touch` does not set another meanwhile.
        # Of two items, the one touched first is due first, even if a pause counts for only one of them.
        now = monotonic()
        try:
            # A copy: `expired` may touch and discard items. Also, removing a dictionary's first entries singly is slow.
            for item, touched in list(self._touched.items()):
                if touched + self._seconds + self._paused(touched) > now:
                    break
                if self._touched.get(item) == touched:
                    del self._touched[item]
                    self._expired(item)
        finally:
            self._timer = None
            if self._touched:
                delay = max(self._first_due() - monotonic(), EARLIEST)
                self._timer = self._loop.call_later(delay, self._sweep)

    def _first_due(self) -> float:
        first = next(iter(self._touched.values()))
        return first + self._seconds + self._paused(first)

    def _has_to_read_first(self) -> bool:
        """Whether the first item is so overdue that the loop may not have read data that arrived in time.

        Never True twice in a row.
        """
        overdue = bool(self._touched) and monotonic() - self._first_due() > LATE_SECONDS
        self._late = overdue and not self._late
        return self._late
