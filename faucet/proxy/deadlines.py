"""Deadlines for very many things at the cost of a dictionary entry each.

All items of one `Timeouts` have the same patience, so the one touched longest ago is always the first to run
out: a dictionary, which keeps its order, is the priority queue, and one timer for its first entry serves all. A
timer per request would cost more than the rest of the request's bookkeeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from time import monotonic
from typing import Generic, TypeVar

from faucet.pauses import EARLIEST, LATE_SECONDS

Item = TypeVar("Item", bound=Hashable)

DRAIN_SECONDS = 5.0
"""While the service ends: seconds in which a request that is not in hand yet must arrive, and after which a client that
sends or reads has to have moved something. A TCP connection that lost a packet recovers within that."""

RATE_SECONDS = 60.0
"""Over how long the rate of a client is averaged, if there is no `client_timeout` to say it."""


class Timeouts(Generic[Item]):
    """Calls `expired(item)` when an item was not touched for `seconds`; never, if `seconds` is 0.

    `paused(moment)` returns the seconds since that moment that do not count.
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
        """The timer has fired late, and was set again for the next turn of the loop."""
        self._seconds = seconds
        self._expired = expired
        self._touched: dict[Item, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._touched)

    def oldest(self) -> Iterator[Item]:
        """All items, those first that were not touched for the longest time. None may come or go meanwhile."""
        return iter(self._touched)

    def __contains__(self, item: object) -> bool:
        return item in self._touched

    def patience(self, item: Item) -> float:
        """Return the seconds that `item` has, from when it was touched."""
        return self._seconds

    def touch(self, item: Item) -> None:
        """Give `item` its whole time, from now on."""
        if not self._seconds:
            return
        self._touched.pop(item, None)  # so that it goes to the end
        self._touched[item] = monotonic()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._sweep)

    def discard(self, item: Item) -> None:
        """Forget `item`, if it is here. The timer stays: it finds out when it fires."""
        self._touched.pop(item, None)

    def close(self) -> None:
        """Forget all items and the timer."""
        self._touched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        if self._has_to_read_first():
            self._timer = self._loop.call_later(EARLIEST, self._sweep)
            return
        # The timer that has fired stays in its place until the end: what is touched meanwhile must not set another.
        # Of two items, the one touched first is due first, also where a pause counts for one of them only.
        now = monotonic()
        try:
            # A copy: `expired` may touch and discard. And the front of a dictionary is slow to pop one by one.
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
        """The first item is overdue by so much that the loop has not read what arrived in time. Once in a row."""
        overdue = bool(self._touched) and monotonic() - self._first_due() > LATE_SECONDS
        self._late = overdue and not self._late
        return self._late
