"""Statistics by endpoint: the number of requests, how long they hold locks, and how often they fail.

They are computed from the records of finished requests once a second, not while a request is served. Memory is bounded:
NAMES endpoints, all further ones counted as `other`, in slices of STEP seconds that take KEPT bytes together.
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from time import time

from faucet.log.recent import newest
from faucet.proxy.stats import RING_SIZE, Record, Stats
from faucet.status.endpoint import endpoint_of
from faucet.status.history import LONGEST, OVERHEAD, STEP
from faucet.status.quantiles import quantile_of_runs, sorted_run
from faucet.status.snapshot import EndpointRow

NAMES = 100
"""Endpoints with a name of their own. Each is a time series of /metrics."""

OTHER = "other"
"""The name for all further endpoints, and for those that were only ever answered with 4xx: clients invent paths."""

KEPT = 4 << 20
"""Bytes of figures that are kept, without the totals: 15 minutes at 1000 requests per second."""

_NUMBERS = re.compile(rb"(?<=/)[0-9]+(?=/|$)")

PATHS_REMEMBERED = 4096
"""Size of the cache from path to endpoint, in entries."""


class Tally:
    """The numbers of one endpoint in a period; durations are in seconds."""

    __slots__ = ("errors", "held", "requests", "times", "waited")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        """Responses with a status of 5xx."""
        self.held = 0.0
        """Total time for which requests held locks."""
        self.waited = 0.0
        """Total time for which requests were queued."""
        self.times = array("f")
        """Service times of requests that held a lock. Only slices have them; they are sorted when the slice ends."""

    def add(self, other: Tally) -> None:
        """Add the numbers of `other`, except `times`."""
        self.requests += other.requests
        self.errors += other.errors
        self.held += other.held
        self.waited += other.waited


Slice = tuple[int, dict[str, Tally]]
"""The number of a slice, which begins `number * STEP` seconds after the epoch, and its tallies by endpoint."""


class Endpoints:
    """The numbers of all endpoints: of the last LONGEST seconds, and since the start."""

    def __init__(self) -> None:
        self.totals: dict[str, Tally] = {}
        """Tallies by endpoint since the start, without times."""
        self.uncounted = 0
        """Requests in no tally: if more than RING_SIZE requests end between two counts, the oldest are not counted."""
        self._slices: deque[Slice] = deque()
        self._size = 0  # of all slices but the newest
        self._began = time()
        self._names: dict[tuple[bytes, bytes], str] = {}
        self._seen = 0

    @property
    def size(self) -> int:
        """Approximate size of all slices, in bytes."""
        return self._size + (_size(self._slices[-1]) if self._slices else 0)

    def follow(self, stats: Stats) -> None:
        """Count the requests that have ended since the last call."""
        stats.settle()
        records, missed = newest(stats.recent, stats.exchanges, self._seen, RING_SIZE)
        self._seen = stats.exchanges
        self.uncounted += missed
        self.add(records)

    def add(self, records: Iterable[Record]) -> None:
        """Count these requests, which ended in this order."""
        groups: dict[tuple[int, str], list[Record]] = {}
        for record in records:
            key = int(record.ended // STEP), self.name_of(record)
            group = groups.get(key)
            if group is None:
                group = groups[key] = []
            group.append(record)
        for (number, name), group in groups.items():
            self._count(self._slice(number), name, group)

    def _count(self, tallies: dict[str, Tally], name: str, records: list[Record]) -> None:
        """Count requests of one endpoint in one slice. Counting them together takes half the time."""
        fresh = Tally()
        times = [record.service for record in records if record.worker]
        fresh.requests = len(records)
        fresh.errors = sum(record.status >= 500 for record in records)
        fresh.held = sum(times)
        fresh.waited = sum([record.waited for record in records])
        self.totals[name].add(fresh)
        tally = tallies.get(name)
        if tally is None:
            tally = tallies[name] = Tally()
        tally.add(fresh)
        tally.times.extend(times)

    def _slice(self, number: int) -> dict[str, Tally]:
        """Return the tallies of slice `number`, or of the newest slice if the clock was set back."""
        if not self._slices or number > self._slices[-1][0]:
            if self._slices:
                for tally in self._slices[-1][1].values():
                    tally.times = sorted_run(tally.times)
                self._size += _size(self._slices[-1])
            self._slices.append((number, {}))
            oldest = number - LONGEST // STEP - 1
            while len(self._slices) > 2 and (self._slices[0][0] < oldest or self._size > KEPT):
                self._size -= _size(self._slices.popleft())
        return self._slices[-1][1]

    def name_of(self, record: Record) -> str:
        """Return the name that a request is counted under.

        Clients may request any path. An endpoint gets its own name when a worker answers it with a status other than
        4xx.
        """
        name = self._name(record)
        if name in self.totals:
            return name
        exists = record.worker and not 400 <= record.status < 500
        if not exists or len(self.totals) >= NAMES:
            name = OTHER
        self.totals.setdefault(name, Tally())
        return name

    def _name(self, record: Record) -> str:
        key = record.method, _NUMBERS.sub(b"0", record.target.partition(b"?")[0])
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= PATHS_REMEMBERED:
                self._names.clear()
            name = self._names[key] = endpoint_of(key[0].decode("latin-1"), key[1].decode("latin-1"))
        return name

    def rows(
        self, now: float, seconds: float = LONGEST, running: Iterable[tuple[Record, float]] = ()
    ) -> tuple[list[EndpointRow], float]:
        """Return the endpoints of the last `seconds`, sorted by lock time, longest first, and the seconds covered.

        For requests in progress (`running`), only the seconds for which they have held a lock are counted.
        """
        oldest = int((now - min(seconds, LONGEST)) // STEP)
        slices = [tallies for number, tallies in self._slices if number >= oldest]
        known = max(self._began, self._slices[0][0] * STEP if len(self._slices) > 1 else 0.0, oldest * STEP)
        counted = max(now - known, 1.0)
        merged: dict[str, Tally] = {}
        runs: dict[str, list[array[float]]] = {}
        for tallies in slices:
            for name, tally in tallies.items():
                merged.setdefault(name, Tally()).add(tally)
                runs.setdefault(name, []).append(tally.times if tallies is not slices[-1] else sorted_run(tally.times))
        for record, held in running:
            name = self._name(record)
            merged.setdefault(name, Tally()).held += min(held, seconds)
            runs.setdefault(name, [])
        return rows_of(merged, runs, counted), min(counted, seconds)


def _size(part: Slice) -> int:
    """Return the approximate size of a slice, in bytes."""
    return sum(4 * len(tally.times) + 3 * OVERHEAD for tally in part[1].values())


def rows_of(tallies: Mapping[str, Tally], runs: Mapping[str, list[array[float]]], seconds: float) -> list[EndpointRow]:
    """Return tallies that cover `seconds`, with their sorted times, as rows: sorted by lock time, longest first."""
    held = sum(tally.held for tally in tallies.values()) or 1.0
    rows = [
        EndpointRow(
            endpoint=name,
            requests=tally.requests,
            rps=round(tally.requests / seconds, 3),
            p50=round(quantile_of_runs(runs[name], 0.5), 6),
            p95=round(quantile_of_runs(runs[name], 0.95), 6),
            slowest=round(max((run[-1] for run in runs[name] if run), default=0.0), 6),
            waited=round(tally.waited / max(tally.requests, 1), 6),
            errors=tally.errors,
            held=round(tally.held, 6),
            share=round(tally.held / held, 6),
        )
        for name, tally in tallies.items()
    ]
    return sorted(rows, key=lambda row: (-row.held, row.endpoint))
