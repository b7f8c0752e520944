"""A relay's requests: which wait for an active, which are at it, and what becomes of them when it is lost.

Requests go to the active in the order of their arrival. One that the active has not begun comes back to its place in
that order. One that was at an active that is lost is sent again only if sending it twice does no harm, and its client
has seen nothing of an answer.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Request = TypeVar("Request", bound=Hashable)


@dataclass(order=True)
class _Entry(Generic[Request]):
    number: int
    request: Request = field(compare=False)
    repeatable: bool = field(compare=False)
    at: Hashable = field(default=None, compare=False)  # the connection to the active
    answering: bool = field(default=False, compare=False)


class Forwarding(Generic[Request]):
    """The requests of one relay; each is known by its own object, from `arrived` to `done` or `lost`."""

    def __init__(self) -> None:
        self._arrivals = 0
        self._waiting: list[_Entry[Request]] = []  # a heap; entries whose request left are skipped
        self._known: dict[Request, _Entry[Request]] = {}
        self._handed: dict[Request, _Entry[Request]] = {}

    def arrived(self, request: Request, repeatable: bool) -> None:
        """A request is complete. `repeatable`: whether its method is idempotent."""
        self._arrivals += 1
        self._wait(_Entry(self._arrivals, request, repeatable))

    def _wait(self, entry: _Entry[Request]) -> None:
        self._known[entry.request] = entry
        heapq.heappush(self._waiting, entry)

    def next(self, at: Hashable) -> Request | None:
        """Return the request that goes to the active by connection `at` now, the oldest that waits; None for none."""
        while self._waiting:
            entry = heapq.heappop(self._waiting)
            if self._known.get(entry.request) is entry:
                entry.at = at
                self._handed[entry.request] = entry
                return entry.request
        return None

    def not_begun(self, request: Request) -> None:
        """The active has not begun it, and never will."""
        entry = self._handed.pop(request, None)
        if entry is not None:
            self._wait(entry)

    def answering(self, request: Request) -> None:
        """Its client has got the beginning of the answer."""
        if request in self._handed:
            self._handed[request].answering = True

    def done(self, request: Request) -> None:
        """It is answered, or its client is gone."""
        self._known.pop(request, None)
        self._handed.pop(request, None)

    def lost(self, at: Hashable) -> list[Request]:
        """A connection is lost. Return the requests that must not be sent again, oldest first; the others wait."""
        failed = []
        for entry in sorted(entry for entry in self._handed.values() if entry.at is at):
            del self._handed[entry.request]
            if entry.answering or not entry.repeatable:
                del self._known[entry.request]
                failed.append(entry.request)
            else:
                self._wait(entry)
        return failed

    @property
    def waiting(self) -> int:
        """How many requests wait for an active."""
        return len(self._known) - len(self._handed)

    def at(self, at: Hashable) -> int:
        """How many requests went to an active by that connection, and are not settled."""
        return sum(entry.at is at for entry in self._handed.values())

    def is_waiting(self, request: Request) -> bool:
        """Whether that request waits for an active."""
        return request in self._known and request not in self._handed
