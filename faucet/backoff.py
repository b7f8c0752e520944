"""Exponential back-off: how long to pause before the next try, after so many failures in a row.

A pure calculation without state, so that whoever retries keeps one integer, the failures in a row, and nothing else.
It is exact about the one thing that hand-written versions get wrong: `2 ** failures` is a number that no float holds
after 1,024 failures, and a retry loop that lives for weeks gets there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses in seconds: `first`, then twice as long each time, up to `limit`."""

    first: float
    limit: float
    jitter: float = 0.0
    """Share of a pause by which it is longer or shorter at random, so that many do not retry at the same moment."""

    def pause(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """Return the pause after so many failures in a row; 0 after none.

        `chance` returns a number from 0 to 1. The pause is never longer than the limit plus the jitter's share of it.
        """
        if failures < 1:
            return 0.0
        pause = min(self.first * self._growth(failures - 1), self.limit)
        return pause * (1 + self.jitter * (2 * chance() - 1))

    def _growth(self, doublings: int) -> float:
        """Return 2 ** doublings, or infinity where a float cannot hold it."""
        return 2.0**doublings if doublings < 1000 else inf
