"""Promises, from the view of the active: which members it must ask, and which rounds are complete.

A promise is needed from every member that could take the Lease after the usual wait: those on the list of a write that
is stored, or that may be. A write without an answer may be stored, so its list counts until a later one is answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class _Round:
    asked_at: float
    missing: set[str]


class Promises:
    """The rounds of one term. `required` are the members of the write that began it."""

    def __init__(self, me: str, required: Iterable[str]) -> None:
        self._me = me
        self._lists = [frozenset(required)]
        self._rounds: dict[int, _Round] = {}
        self._number = 0

    @property
    def required(self) -> set[str]:
        """The keys of the members whose promise is needed."""
        return set().union(*self._lists) - {self._me}

    def wrote(self, members: Iterable[str]) -> None:
        """Record that a write with this list of members was sent."""
        self._lists.append(frozenset(members))

    def acknowledged(self, members: Iterable[str]) -> None:
        """Record that a write with this list is stored: earlier writes are replaced, or can no longer succeed."""
        self._lists = [frozenset(members)]
        self._rounds.clear()

    def begin(self, now: float, excused: Iterable[str] = ()) -> int:
        """Begin a round of questions, sent now. Return its number. Members in `excused` need not promise."""
        self._number += 1
        self._rounds[self._number] = _Round(now, self.required - set(excused))
        for old in [number for number in self._rounds if number < self._number - 2]:
            del self._rounds[old]
        return self._number

    def complete(self, number: int) -> float | None:
        """Return when the round was asked if all have promised; None if it is not complete, or unknown."""
        round_ = self._rounds.get(number)
        if round_ is None or round_.missing:
            return None
        del self._rounds[number]
        return round_.asked_at

    def promised(self, number: int, key: str) -> float | None:
        """Record the promise of `key` in a round. Return the result of `complete`."""
        if number in self._rounds:
            self._rounds[number].missing.discard(key)
        return self.complete(number)
