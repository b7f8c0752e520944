"""What each endpoint takes: how often it is asked for, how long it holds locks, how often it fails.

Counted from the records of finished requests, once a second and not while one is served. The memory is bounded: NAMES
endpoints, the rest is `other`; MINUTES slices of a minute.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping
from time import time

from faucet.log.recent import newest
from faucet.proxy.stats import BUCKET_BOUNDS, RING_SIZE, Record, Stats
from faucet.status.endpoint import endpoint_of
from faucet.status.snapshot import EndpointRow

NAMES = 100
"""Endpoints that are told apart, each a time series of /metrics."""

OTHER = "other"
"""The name of all further endpoints, and of those that were never answered but with 4xx: names that clients invent."""

MINUTES = 15
"""How far back the figures of the monitor reach."""

_NUMBERS = re.compile(rb"(?<=/)[0-9]+(?=/|$)")

PATHS_REMEMBERED = 4096
"""Paths whose endpoint is remembered, so that it need not be made again."""


class Tally:
    """The numbers of one endpoint in some time; durations are in seconds."""

    __slots__ = ("buckets", "errors", "held", "requests", "slowest", "waited")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        """Answers of the class 5xx."""
        self.held = 0.0
        """Time for which its requests held locks."""
        self.waited = 0.0
        """Time for which its requests were queued."""
        self.slowest = 0.0
        self.buckets: dict[int, int] = {}
        """Counts of service times, by index of BUCKET_BOUNDS."""

    def add(self, record: Record) -> None:
        """Count one request."""
        self.requests += 1
        self.errors += record.status >= 500
        self.waited += record.waited
        if record.worker:
            self.held += record.service
            self.slowest = max(self.slowest, record.service)
            bucket = bisect_left(BUCKET_BOUNDS, record.service)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: Tally) -> None:
        """Add the numbers of `other`."""
        self.requests += other.requests
        self.errors += other.errors
        self.held += other.held
        self.waited += other.waited
        self.slowest = max(self.slowest, other.slowest)
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def quantile(self, share: float) -> float:
        """Return the `share` quantile of the service times, at most 19 % too high and never above the slowest."""
        rank = share * sum(self.buckets.values())
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return min(BUCKET_BOUNDS[bucket], self.slowest) if bucket < len(BUCKET_BOUNDS) else self.slowest
        return 0.0


class Endpoints:
    """The numbers of all endpoints: of the last MINUTES, and in all."""

    def __init__(self) -> None:
        self.totals: dict[str, Tally] = {}
        """Since the start. Their buckets are not kept."""
        self.uncounted = 0
        """Requests that were too many to be told apart: of more than a thousand between two counts, the newest are."""
        self._slices: deque[tuple[int, dict[str, Tally]]] = deque(maxlen=MINUTES)
        self._began = time()
        self._paths: dict[tuple[bytes, bytes], str] = {}
        self._seen = 0

    def follow(self, stats: Stats) -> None:
        """Count the requests that have ended since the last call."""
        records, missed = newest(stats.recent, stats.exchanges, self._seen, RING_SIZE)
        self._seen = stats.exchanges
        self.uncounted += missed
        self.add(records)

    def add(self, records: Iterable[Record]) -> None:
        """Count these requests, which ended in this order."""
        for record in records:
            name = self._admitted(record)
            total = self.totals.get(name)
            if total is None:
                total = self.totals[name] = Tally()
            total.requests += 1
            total.errors += record.status >= 500
            total.waited += record.waited
            total.held += record.service if record.worker else 0.0
            tallies = self._slice(record.ended)
            tally = tallies.get(name)
            if tally is None:
                tally = tallies[name] = Tally()
            tally.add(record)

    def _slice(self, when: float) -> dict[str, Tally]:
        """Return the tallies of the minute of `when`; of the newest one, if the clock was set back."""
        minute = int(when // 60)
        if not self._slices or minute > self._slices[-1][0]:
            self._slices.append((minute, {}))
        return self._slices[-1][1]

    def _admitted(self, record: Record) -> str:
        """Return the name that a request is counted under.

        A client may ask for anything. Only what a worker has answered, and not with 4xx, has a name of its own.
        """
        name = self._name(record)
        if name in self.totals:
            return name
        exists = record.worker and not 400 <= record.status < 500
        return name if exists and len(self.totals) < NAMES else OTHER

    def _name(self, record: Record) -> str:
        key = record.method, _NUMBERS.sub(b"0", record.target.partition(b"?")[0])
        name = self._paths.get(key)
        if name is None:
            if len(self._paths) >= PATHS_REMEMBERED:
                self._paths.clear()
            name = self._paths[key] = endpoint_of(key[0].decode("latin-1"), key[1].decode("latin-1"))
        return name

    def rows(self, now: float) -> tuple[list[EndpointRow], float]:
        """Return the endpoints of the last MINUTES, the one first that held locks longest; and the seconds counted."""
        oldest = int(now // 60) - MINUTES + 1
        merged: dict[str, Tally] = {}
        for minute, tallies in self._slices:
            if minute >= oldest:
                for name, tally in tallies.items():
                    merged.setdefault(name, Tally()).merge(tally)
        seconds = max(now - max(self._began, oldest * 60), 1.0)
        return rows_of(merged, seconds), seconds


def rows_of(tallies: Mapping[str, Tally], seconds: float) -> list[EndpointRow]:
    """Return tallies of `seconds` as rows, the one first that held locks longest."""
    held = sum(tally.held for tally in tallies.values()) or 1.0
    rows = [
        EndpointRow(
            endpoint=name,
            requests=tally.requests,
            rps=round(tally.requests / seconds, 3),
            p50=round(tally.quantile(0.5), 6),
            p95=round(tally.quantile(0.95), 6),
            slowest=round(tally.slowest, 6),
            waited=round(tally.waited / tally.requests, 6),
            errors=tally.errors,
            held=round(tally.held, 6),
            share=round(tally.held / held, 6),
        )
        for name, tally in tallies.items()
    ]
    return sorted(rows, key=lambda row: (-row.held, row.endpoint))
