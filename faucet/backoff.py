"""Exponential back-off: the pause before the next try, after a number of failures in a row.

A pure calculation without state: the caller keeps only one integer, the number of failures in a row. Hand-written
versions often overflow: after 1,024 failures no float can hold `2 ** failures`, and a retry loop that runs for weeks
gets there.
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
    """The largest share by which a pause is longer or shorter at random, so that many callers do not retry at once."""

    def pause(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """Return the pause in seconds after `failures` in a row; 0 after none.

        `chance` returns a number from 0 to 1. The pause is never longer than the limit plus the jitter's share of it.
        """
        if failures < 1:
            return 0.0
        pause = min(self.first * self._growth(failures - 1), self.limit)
        return pause * (1 + self.jitter * (2 * chance() - 1))

    def _growth(self, doublings: int) -> float:
        """Return 2 ** doublings, or infinity where a float cannot hold it."""
        return 2.0**doublings if doublings < 1000 else inf
