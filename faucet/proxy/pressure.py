"""While the memory for buffers is spent, whoever holds some of it has to read.

A few hundred clients that do not read a large answer can hold all of it. Workers then wait with their answers, and
everybody waits for the workers, small requests too, for as long as a slow client is forgiven otherwise: a minute. So
while nothing is left, those are cut that would need the longest time for what they hold, and no more of them than are
needed to go on.
"""

from __future__ import annotations

import asyncio
import logging
from operator import itemgetter
from time import monotonic

from faucet.proxy.budget import WAKE_SHARE, Budget

_log = logging.getLogger("faucet")

LOOK_SECONDS = 0.5
"""Between two looks."""

LEAST_SECONDS = 2.0
"""Over how long what a client reads is measured at least: a lost packet is sent again within that."""

FREED_TO = WAKE_SHARE - 0.1
"""Share of the budget that is in use afterwards, if enough clients read too slowly."""

READ_SECONDS = 60.0
"""A client that will have read what it holds within that, at the rate at which it reads, is never cut."""


class Pressure:
    """Watches a budget from the moment it is spent until answers may grow again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: Budget) -> None:
        self._loop = loop
        self._budget = budget
        self._timer: asyncio.Handle | None = None
        self._cut = 0
        budget.on_strained = self.begin

    def begin(self) -> None:
        """The budget is spent."""
        if self._timer is None:
            self._timer = self._loop.call_soon(self._look)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._budget.strained:
            self._cut_slowest(self._budget.used - int(FREED_TO * self._budget.total))
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        elif self._cut:
            cut, self._cut = self._cut, 0
            _log.warning(
                "the memory for buffers was spent (--buffer-total): %d clients that did not read were cut", cut
            )

    def _cut_slowest(self, needed: int) -> None:
        """Free so many bytes, or as many as clients hold that read too slowly."""
        now = monotonic()
        slow = []
        for client, held in self._budget.holders.items():
            seconds = now - held.since
            needs = held.size / max((client.taken() - held.taken) / seconds, 1) if seconds >= LEAST_SECONDS else 0.0
            if needs > READ_SECONDS:
                slow.append((needs, held.size, client))
        for _, size, client in sorted(slow, key=itemgetter(0), reverse=True):
            if needed <= 0:
                return
            needed -= size
            self._cut += 1
            client.cut()
