"""Statistics: counters, latency histograms, and a ring of the latest exchanges.

They are always on, so they must cost almost nothing: ended exchanges are collected in a list and counted in batches.
Text is made only by the readers. Durations are seconds as float, sizes are bytes as int.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from faucet.proxy.moving_mean import moved

BUCKETS_PER_DOUBLING = 4
"""Resolution of a histogram: neighboring bounds differ by 19 %. Quantiles are computed from the times themselves."""

BUCKET_BOUNDS: Final = tuple(1e-4 * 2 ** (step / BUCKETS_PER_DOUBLING) for step in range(88))
"""Upper bounds in seconds, from 0.1 ms to about 350 s."""

_BEYOND: Final = len(BUCKET_BOUNDS)
"""The bucket of all longer durations."""

RING_SIZE = 1000
"""The number of latest exchanges that are kept in full."""

WORKER_RING_SIZE = 256
"""The number of latest service times that are kept for each worker."""

TOGETHER: Final = 64
"""The number of exchanges that are counted in one batch. Between two requests R fills the processor's caches, so code
that runs once per request costs several times as much as in a loop."""

TIMES_TOGETHER: Final = 1024
"""The number of times after which `Stats.on_times` is called, so that they are sorted little by little."""

NAMES_REMEMBERED = 1000
"""The number of removed workers whose counts are kept. Each new pod has a new name, and each name is a time series."""

UNKNOWN = -1
"""The minor version of a request without a valid request line."""


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
    """The status sent to the client; 499 if the client disconnected before any response, as in nginx's log."""
    sent: int
    """Bytes of the response, head included, that were handed to the client's connection."""
    received: int
    """Bytes of the request, head included."""
    waited: float
    """Seconds spent waiting for a lock, after the request was ready to be sent."""
    service: float
    """Seconds from the latest lock to the end of the exchange; 0 if it ended without a lock."""
    worker: str
    """Name of the latest worker whose lock the request held; empty if there was none."""
    note: str
    """Why the outcome is not just a relayed response; empty if it is."""
    left: float = 0.0
    """Seconds of `service` after the client had disconnected."""
    request_id: str = ""
    """The Faucet-Request-Uuid; empty if the request has none."""
    trace: str = ""
    """The `traceparent`, if traces are exported; else empty."""
    error: str = ""
    """The last error that the worker wrote while the request held its lock; may be set a moment after the end."""


class Histogram:
    """Counts of durations by logarithmic buckets."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKET_BOUNDS) + 1)
        self.sum = 0.0
        """The sum of all durations, in seconds."""

    @property
    def total(self) -> int:
        """The number of counted durations."""
        return sum(self.counts)

    def add(self, durations: Sequence[float]) -> None:
        """Count `durations`, in seconds.

        They are sorted first: those of one batch are alike, and share few buckets, each of which is sought only once.
        """
        counts, ordered = self.counts, sorted(durations)
        done, size = 0, len(ordered)
        while done < size:
            bucket = bisect_left(BUCKET_BOUNDS, ordered[done])
            end = bisect_right(ordered, BUCKET_BOUNDS[bucket], done) if bucket < _BEYOND else size
            counts[bucket] += end - done
            done = end
        self.sum += sum(ordered)


def _sum(counts: list[int], more: list[int]) -> list[int]:
    return [one + other for one, other in zip(counts, more, strict=True)]


def _class_of(record: Record) -> int:
    """Return the first digit of the status, at most 5: a worker may answer 799, which counts as an error."""
    first = record.status // 100
    return min(5, first)


class WorkerStats:
    """The statistics of one worker, across its restarts."""

    __slots__ = ("by_class", "recent")

    def __init__(self) -> None:
        self.by_class = [0] * 6  # by the first digit of the status
        self.recent: deque[tuple[float, float]] = deque(maxlen=WORKER_RING_SIZE)
        """The end of each of the latest requests (seconds since the epoch), and its service time in seconds."""

    @property
    def requests(self) -> int:
        """The number of all requests."""
        return sum(self.by_class)

    @property
    def errors(self) -> int:
        """The number of responses of class 5xx."""
        return self.by_class[5]

    def add(self, record: Record) -> None:
        """Count one exchange."""
        self.by_class[_class_of(record)] += 1
        self.recent.append((record.ended, record.service))


class Stats:
    """The statistics of one run of the service."""

    def __init__(self) -> None:
        self._fresh: list[Record] = []
        self._spans: list[float] = []
        self.exchanges = 0
        """The number of exchanges that have ended."""
        self.errors = 0
        """Responses of class 5xx to requests that a worker had."""
        self.refused_requests = 0
        """Requests that no worker had and that were answered with 503. `refusals` has the reasons."""
        self.workers: dict[str, WorkerStats] = {}
        """The statistics of the current workers, by name."""
        self._gone: dict[str, list[int]] = {}  # of removed workers, by class of the status; the latest last
        self._forgotten = [0] * 6  # of removed workers beyond NAMES_REMEMBERED
        self._times: dict[str, list[float]] = {}  # service times by worker, until `take_times`
        self._waits: list[float] = []
        self.on_times: Callable[[], None] | None = None
        """Called when TIMES_TOGETHER times have come since `take_times`, and again until somebody takes them."""
        self.service = Histogram()
        self.waited = Histogram()
        self.held = Histogram()
        """The times for which locks were held."""
        self.refusals: dict[str, int] = {}
        """Refused requests and clients, by reason. Includes clients that are refused before they send a request, and
        requests whose worker failed."""
        self.restarts: dict[str, int] = {}
        """Replaced workers, by reason."""
        self.start_shortages: dict[str, int] = {}
        """Failed starts of workers for lack of a resource of this machine, by resource. File descriptors that are
        missing for anything else are counted by `net.descriptors`."""
        self.by_class = [0] * 6  # by the first digit of the status
        self.recent: deque[Record] = deque(maxlen=RING_SIZE)
        self.mean_service = 0.0
        """Moving mean of the service time of exchanges that held a lock, in seconds."""

    def add(self, record: Record) -> None:
        """Add an exchange that has ended, to be counted in a batch."""
        self._fresh.append(record)
        if len(self._fresh) >= TOGETHER:
            self.settle()
            if self.on_times is not None and len(self._waits) >= TIMES_TOGETHER:
                self.on_times()

    def hold(self, seconds: float) -> None:
        """Add the time for which a lock was held."""
        self._spans.append(seconds)

    def settle(self) -> None:
        """Count all added exchanges and times. Call it before reading the statistics."""
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
        self.mean_service = moved(self.mean_service, record.service)

    def forget(self, name: str) -> None:
        """Drop the statistics of a removed worker, except its counts, since a counter must never decrease."""
        self.settle()
        worker = self.workers.pop(name, None)
        if worker is None:
            return
        self._gone[name] = _sum(self._gone.pop(name, [0] * 6), worker.by_class)
        while len(self._gone) > NAMES_REMEMBERED:
            self._forgotten = _sum(self._forgotten, self._gone.pop(next(iter(self._gone))))

    def requests_by_worker(self) -> dict[str, list[int]]:
        """Return the counts by first digit of the status, of each current and removed worker.

        The empty name stands for requests without a worker, or of removed workers whose names are forgotten.
        """
        counts = {name: list(served) for name, served in self._gone.items()}
        for name, worker in self.workers.items():
            counts[name] = _sum(counts.get(name, [0] * 6), worker.by_class)
        served = [sum(column) for column in zip(self._forgotten, *counts.values(), strict=True)]
        counts[""] = [every - some for every, some in zip(self.by_class, served, strict=True)]
        return counts

    def count_refusal(self, reason: str) -> None:
        """Count a client or a request that was refused with 503, or without a response if none could be sent."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def count_restart(self, reason: str) -> None:
        """Count a worker that was replaced."""
        self.restarts[reason] = self.restarts.get(reason, 0) + 1

    def count_start_shortage(self, resource: str) -> None:
        """Count a worker that could not be started for lack of `resource`."""
        self.start_shortages[resource] = self.start_shortages.get(resource, 0) + 1

    def take_times(self) -> tuple[dict[str, list[float]], list[float]]:
        """Return the service times by worker, and the waiting times, since the last call.

        They are kept until it is called, so call it once a second, and for each `on_times`."""
        times, self._times = self._times, {}
        waits, self._waits = self._waits, []
        return times, waits

    def expected_wait(self, waiting: int, workers: int, held: float = 0.0) -> float:
        """Return the seconds until a new request behind `waiting` queued ones would be served by `workers` workers.

        `held` is how long the current locks have been held, on average. It is used before any request has been served.
        """
        return (waiting + 1) * (self.mean_service or held) / max(workers, 1)
