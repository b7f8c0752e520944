"""What has happened, in numbers: counters, latency histograms, and a ring of the latest exchanges.

Always on, so it must cost next to nothing: an exchange is put in a list, and counted with others a little later.
Text is made only by whoever reads. Durations are seconds as float, sizes bytes as int.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

BUCKETS_PER_DOUBLING = 4
"""Resolution of a histogram: neighbouring bounds differ by 19 %. Quantiles are taken from the times themselves."""

BUCKET_BOUNDS = tuple(1e-4 * 2 ** (step / BUCKETS_PER_DOUBLING) for step in range(88))
"""Upper bounds in seconds, from 0.1 ms to about 350 s."""

RING_SIZE = 1000
"""Exchanges remembered in full."""

WORKER_RING_SIZE = 256
"""Service times remembered of each worker."""

TOGETHER = 64
"""Exchanges that are counted together. Between two requests R has the processor's caches for itself: what runs once for
each costs several times what it costs in a loop."""

NAMES_REMEMBERED = 1000
"""Workers that are gone whose counts are kept. Pods have a new name each time, and each is a time series."""

SERVICE_WEIGHT = 0.1
"""Weight of the newest service time in the moving mean that Retry-After is computed from."""


UNKNOWN = -1
"""The minor version of a request without a request line that can be read."""


@dataclass(slots=True)
class Record:
    """One exchange, as it ended."""

    ended: float
    """Seconds since the epoch."""
    client: str
    """Address of the client, without port."""
    method: bytes
    target: bytes
    minor: int
    """The request was HTTP/1.`minor`; UNKNOWN if its request line did not come, or was wrong."""
    status: int
    """As relayed or answered; 499 if the client left before any answer, as nginx logs it."""
    sent: int
    """Bytes of the response, head included, that were handed to the client's connection."""
    received: int
    """Bytes of the request, head included."""
    waited: float
    """Seconds spent waiting for a lock, once the request was in hand."""
    service: float
    """Seconds from the last lock to the end of the answer; 0 if it ended without one."""
    worker: str
    """Name of the last worker that held it; empty if none did."""
    note: str
    """Why the outcome is not just a relayed response; empty if it is."""
    left: float = 0.0
    """Seconds of `service` for which the client was gone: the worker computed for nobody."""
    request_id: str = ""
    """Its Faucet-Request-Uuid; empty if nobody asked for one."""
    trace: str = ""
    """Its `traceparent`, if traces are sent somewhere; else empty."""
    error: str = ""
    """The last error that its worker wrote while it held the lock; may be known a moment after the end."""


class Histogram:
    """Counts of durations by logarithmic buckets."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKET_BOUNDS) + 1)
        self.sum = 0.0
        """Of all durations, in seconds."""

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def add(self, durations: Sequence[float]) -> None:
        """Count these, in seconds."""
        counts = self.counts
        for seconds in durations:
            counts[bisect_left(BUCKET_BOUNDS, seconds)] += 1
        self.sum += sum(durations)


def _sum(counts: list[int], more: list[int]) -> list[int]:
    return [one + other for one, other in zip(counts, more, strict=True)]


def _class_of(record: Record) -> int:
    """First digit of the status; a worker may answer 799, which counts as an error."""
    first = record.status // 100
    return min(5, first)


class WorkerStats:
    """The numbers of one worker, through all its processes."""

    __slots__ = ("by_class", "recent")

    def __init__(self) -> None:
        self.by_class = [0] * 6  # by the first digit of the status
        self.recent: deque[tuple[float, float]] = deque(maxlen=WORKER_RING_SIZE)
        """When its latest requests ended (since the epoch) and how long each took, in seconds."""

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.by_class)

    @property
    def errors(self) -> int:
        """Answers of the class 5xx."""
        return self.by_class[5]

    def add(self, record: Record) -> None:
        """Count one exchange."""
        self.by_class[_class_of(record)] += 1
        self.recent.append((record.ended, record.service))


class Stats:
    """The numbers of one runtime."""

    def __init__(self) -> None:
        self._fresh: list[Record] = []
        self._spans: list[float] = []
        self.exchanges = 0
        """All that have ended."""
        self.errors = 0
        """Answers of the class 5xx to requests that a worker had."""
        self.refused_requests = 0
        """Requests that no worker had and that were answered with 503. See `refusals` for why."""
        self.workers: dict[str, WorkerStats] = {}
        """The numbers of those that are here."""
        self._gone: dict[str, list[int]] = {}  # by class of the status; whoever went last is last
        self._forgotten = [0] * 6  # of those beyond NAMES_REMEMBERED
        self._times: dict[str, list[float]] = {}  # service times by worker, until they are taken
        self._waits: list[float] = []
        self.service = Histogram()
        self.waited = Histogram()
        self.held = Histogram()
        """How long locks were held."""
        self.refusals: dict[str, int] = {}
        """Refused requests and clients, by reason: also clients that are turned away before they send a request, and
        requests that a worker had and failed."""
        self.restarts: dict[str, int] = {}
        """Workers replaced, by reason."""
        self.start_shortages: dict[str, int] = {}
        """Starts of workers that failed since this machine had run out of something, by what. Descriptors that are
        missing for anything else are counted by `net.descriptors`."""
        self.by_class = [0] * 6  # by the first digit of the status
        self.recent: deque[Record] = deque(maxlen=RING_SIZE)
        self.mean_service = 0.0
        """Moving mean of the service time of exchanges that held a lock, in seconds."""

    def add(self, record: Record) -> None:
        """Take one exchange that has ended, to be counted with others."""
        self._fresh.append(record)
        if len(self._fresh) >= TOGETHER:
            self.settle()

    def hold(self, seconds: float) -> None:
        """A lock was held for so long."""
        self._spans.append(seconds)

    def settle(self) -> None:
        """Count what was taken. To be called before the numbers are read."""
        fresh, self._fresh = self._fresh, []
        spans, self._spans = self._spans, []
        served = [record for record in fresh if record.worker]
        self.recent.extend(fresh)
        self.exchanges += len(fresh)
        self.held.add(spans)
        waits = [record.waited for record in fresh]
        self.waited.add(waits)
        self._waits += waits
        self.service.add([record.service for record in served])
        for record in fresh:
            self.by_class[_class_of(record)] += 1
            self.refused_requests += record.status == 503 and not record.worker
        for record in served:
            self._count_worker(record)

    def _count_worker(self, record: Record) -> None:
        worker = self.workers.get(record.worker)
        if worker is None:
            worker = self.workers[record.worker] = WorkerStats()
        worker.add(record)
        times = self._times.get(record.worker)
        if times is None:
            times = self._times[record.worker] = []
        times.append(record.service)
        self.errors += record.status >= 500
        weight = SERVICE_WEIGHT if self.mean_service else 1.0  # the first is all that is known
        self.mean_service += weight * (record.service - self.mean_service)

    def forget(self, name: str) -> None:
        """Drop the numbers of a worker that is gone; only its counts are kept, since a counter must never go back."""
        self.settle()
        worker = self.workers.pop(name, None)
        if worker is None:
            return
        self._gone[name] = _sum(self._gone.pop(name, [0] * 6), worker.by_class)
        while len(self._gone) > NAMES_REMEMBERED:
            self._forgotten = _sum(self._forgotten, self._gone.pop(next(iter(self._gone))))

    def requests_by_worker(self) -> dict[str, list[int]]:
        """Return the counts by first digit of the status of each worker that is or was here; empty name: of none."""
        counts = {name: list(served) for name, served in self._gone.items()}
        for name, worker in self.workers.items():
            counts[name] = _sum(counts.get(name, [0] * 6), worker.by_class)
        served = [sum(column) for column in zip(self._forgotten, *counts.values(), strict=True)]
        counts[""] = [every - some for every, some in zip(self.by_class, served, strict=True)]
        return counts

    def count_refusal(self, reason: str) -> None:
        """A client or its request was refused with 503, or with nothing if there was no way to answer."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def count_restart(self, reason: str) -> None:
        """A worker was replaced."""
        self.restarts[reason] = self.restarts.get(reason, 0) + 1

    def count_start_shortage(self, resource: str) -> None:
        """A worker could not be started, since there was no more of this."""
        self.start_shortages[resource] = self.start_shortages.get(resource, 0) + 1

    def take_times(self) -> tuple[dict[str, list[float]], list[float]]:
        """Return the service times by worker, and the waits, that have come since the last call. Once a second: they
        are kept until then."""
        times, self._times = self._times, {}
        waits, self._waits = self._waits, []
        return times, waits

    def expected_wait(self, waiting: int, workers: int, held: float = 0.0) -> float:
        """Seconds until a request would be served that came behind `waiting` others to `workers` workers.

        `held`: how long the locks are held now, on average. It counts as long as no request has been served.
        """
        return (waiting + 1) * (self.mean_service or held) / max(workers, 1)
