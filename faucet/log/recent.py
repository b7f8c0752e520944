"""What was said lately: the messages of Faucet and the output of its workers, for whoever looks in later.

A ring of the latest entries, numbered, so that a viewer can ask for what it has not seen. Requests are not in here:
`stats` remembers them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

SIZE = 5000
"""Entries remembered."""

Item = TypeVar("Item")


class Entry(NamedTuple):
    """One line."""

    when: float
    """Seconds since the epoch."""
    source: str
    """`out` or `err` of a worker; `info`, `warning` or `error` of Faucet itself."""
    worker: str
    """Name of the worker it is from or about; may be empty."""
    text: str


class RecentLog:
    """The latest entries."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=SIZE)
        self.total = 0
        """Entries ever written; the last one in `entries` has this number."""

    def add(self, when: float, source: str, worker: str, text: str) -> None:
        """Write one entry."""
        self.total += 1
        self.entries.append(Entry(when, source, worker, text))


def newest(ring: Sequence[Item] | deque[Item], total: int, seen: int, most: int) -> tuple[Iterable[Item], int]:
    """Of a ring whose last item has the number `total`: those behind number `seen`, `most` of them at most.

    Returns the newest of them in order, and how many older ones are left out.
    """
    unseen = max(total - seen, 0)
    count = min(unseen, len(ring), most)
    return islice(ring, len(ring) - count, None), unseen - count
