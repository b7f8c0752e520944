"""Disconnects clients that read too slowly while the memory for buffers is spent.

A few hundred clients that do not read a large response can hold all of the memory. Workers then cannot finish their
responses, and all requests wait for the workers, small ones too, for as long as a slow client is usually tolerated: a
minute. So while no memory is left, the clients are reset that would need the longest time to read what they hold, and
no more of them than necessary.
"""

from __future__ import annotations

import asyncio
import logging
from operator import itemgetter
from time import monotonic

from faucet.proxy.budget import WAKE_SHARE, Budget

_log = logging.getLogger("faucet")

LOOK_SECONDS = 0.5
"""Seconds between two checks."""

LEAST_SECONDS = 2.0
"""The least seconds over which the rate of a client is measured: a lost packet is sent again within that time."""

FREED_TO = WAKE_SHARE - 0.1
"""Share of the budget down to which memory is freed, if enough clients read too slowly."""

READ_SECONDS = 60.0
"""A client that would read its buffered bytes within these seconds, at its measured rate, is never reset."""


class Pressure:
    """Watches a budget from the moment when it is spent until responses may grow again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: Budget) -> None:
        self._loop = loop
        self._budget = budget
        self._timer: asyncio.Handle | None = None
        self._cut = 0
        budget.on_strained = self.begin

    def begin(self) -> None:
        """Called when the budget is spent: start the checks."""
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
        """Reset the slowest clients until `needed` bytes are freed, or no client is left that reads too slowly."""
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
