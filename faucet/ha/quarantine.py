"""Quarantine: the pods that a new active may not use yet, since they may be busy for an earlier one.

An active that gave its Lease up has named its busy pods, and reports when they are free. Of one that died nothing is
known: then every pod is in quarantine for the figure that its Lease carried, or until it is reached and tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from faucet.ha.messages import Freed, Stopped

LEAST = 1.0
"""Least quarantine, in seconds: figures of the last minute cannot predict the first slow request."""


def quarantine_seconds(longest: float, lock_grace: float) -> float:
    """Return the figure for the Lease, in seconds.

    `longest`: the longest service time of the last minute, in seconds; the ages of requests in progress count as well.
    """
    return min(lock_grace, max(LEAST, 2 * longest))


class _Claim(NamedTuple):
    """The claim of a holder that a pod is busy for it."""

    epoch: int
    """The last one in which it was the active. What it said of an earlier one no longer counts."""
    until: float


class Quarantine:
    """Of one active, in one epoch. Nothing is in quarantine until `begin`."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._previous = ("", 0)  # the holder and epoch before this one
        self._all_until = -inf
        self._claims: dict[str, dict[str, _Claim]] = {}  # pod -> holder -> claim

    def begin(
        self, now: float, previous: tuple[str, int], seconds: float, busy: Iterable[str] = (), unknown_for: float = 0.0
    ) -> None:
        """Take over from `previous`, a holder and its epoch, for whom the pods `busy` are busy.

        Any other pod may be busy for `unknown_for` seconds. What is in quarantine already stays so.
        """
        self._seconds = max(seconds, LEAST)
        self._previous = previous
        self._all_until = max(self._all_until, now + unknown_for)
        for pod in busy:
            self._claim(pod, previous[0], _Claim(previous[1], now + self._seconds))

    def begin_unknown(self, now: float, previous: tuple[str, int], seconds: float) -> None:
        """Take over from `previous`, whose busy pods are unknown."""
        self.begin(now, previous, seconds, unknown_for=max(seconds, LEAST))

    def stopped(self, now: float, message: Stopped, *, reports: bool) -> None:
        """An earlier active tells which pods are busy for it. If it `reports`, it will also tell when each is free.

        If it is the one before, no other pod is busy for it. One from before that knows nothing of its successors.
        """
        if (message.holder, message.epoch) == self._previous:
            self._all_until = min(self._all_until, now + message.unknown_for)
        for pod in [pod for pod, claims in self._claims.items() if message.holder in claims]:
            if pod not in message.busy:
                self.freed(Freed(message.epoch, message.holder, pod))
        for pod in message.busy:
            self._claim(pod, message.holder, _Claim(message.epoch, inf if reports else now + self._seconds))

    def _claim(self, pod: str, holder: str, claim: _Claim) -> None:
        claims = self._claims.setdefault(pod, {})
        claims[holder] = max(claims.get(holder, claim), claim)

    def freed(self, message: Freed) -> None:
        """Process a report that a pod is no longer busy for its sender."""
        claims = self._claims.get(message.pod, {})
        if message.holder in claims and claims[message.holder].epoch <= message.epoch:
            del claims[message.holder]
            if not claims:
                del self._claims[message.pod]

    def lost(self, now: float, holder: str) -> None:
        """Record that `holder` can no longer be reached: its pods are free after the quarantine."""
        for claims in self._claims.values():
            if holder in claims:
                claims[holder] = self._ending(claims[holder], now)

    def _ending(self, claim: _Claim, now: float) -> _Claim:
        """Return a claim that ends after the quarantine, because no report will follow."""
        return claim._replace(until=min(claim.until, now + self._seconds))

    def allows(self, pod: str, now: float) -> bool:
        """Return whether `pod` may be used now."""
        return now >= max(self._all_until, self._until(pod))

    def _until(self, pod: str) -> float:
        return max((claim.until for claim in self._claims.get(pod, {}).values()), default=-inf)

    def pods(self, now: float) -> frozenset[str]:
        """Return the pods with a claim that are still in quarantine."""
        return frozenset(pod for pod in self._claims if now < self._until(pod))

    def unknown_for(self, now: float) -> float:
        """Return the remaining seconds for which every pod is in quarantine."""
        return max(0.0, self._all_until - now)

    def carried(self, now: float) -> float:
        """Return the quarantine that a successor must respect while any pod is in quarantine here, otherwise 0."""
        return self._seconds if self.unknown_for(now) or self.pods(now) else 0.0

    def hand_over(self, now: float) -> None:
        """Record that the active has stopped: it gets no more reports, so claims end after the quarantine."""
        for claims in self._claims.values():
            for holder, claim in claims.items():
                claims[holder] = self._ending(claim, now)

    def next_change(self, now: float) -> float:
        """Return when the next pod leaves quarantine by timeout; infinity if none does."""
        times = [self._until(pod) for pod in self._claims]
        return min((time for time in (*times, self._all_until) if time > now), default=inf)
