"""The recent log: Faucet's messages and its workers' output, kept for subscribers that come later.

A ring of the latest entries, numbered, so that a subscriber can ask for those it has not seen. Requests are not in it:
`proxy.stats` keeps them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

SIZE = 5000
"""Entries that are kept."""

Item = TypeVar("Item")


class Entry(NamedTuple):
    """One line."""

    when: float
    """Seconds since the epoch."""
    source: str
    """`out` or `err` of a worker; `info`, `warning` or `error` of Faucet itself."""
    worker: str
    """Name of the worker that it is from or about; may be empty."""
    text: str


class RecentLog:
    """The latest SIZE entries of the log."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=SIZE)
        self.total = 0
        """Entries ever added; the last one in `entries` has this number."""
        self.trouble: Callable[[], str] = str
        """Returns why lines cannot be written to the log; empty if they can."""
        self.lost: Callable[[], int] = int
        """Returns the number of lines that could not be written to the log. `entries` has the latest of them."""

    def add(self, when: float, source: str, worker: str, text: str) -> None:
        """Add an entry for each line of `text`."""
        for line in text.split("\n"):
            self.total += 1
            self.entries.append(Entry(when, source, worker, line))


def newest(ring: Sequence[Item] | deque[Item], total: int, seen: int, most: int) -> tuple[Iterable[Item], int]:
    """Return at most `most` items after number `seen`, in order, and how many older ones are left out.

    The last item of `ring` has the number `total`.
    """
    unseen = max(total - seen, 0)
    count = min(unseen, len(ring), most)
    return islice(ring, len(ring) - count, None), unseen - count
