"""The metrics page, made from the numbers that are kept anyway: a scrape costs something, a request nothing more.

Names and units are by Prometheus' conventions: base units, counters end in `_total`. No label is a client's to choose.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from faucet import __version__
from faucet.proxy.stats import BUCKET_BOUNDS, BUCKETS_PER_DOUBLING, Histogram
from faucet.status.collect import Runtime
from faucet.workers.shortages import RESOURCES

if TYPE_CHECKING:
    from faucet.status.snapshot import WorkerRow

STATES = ("starting", "ready", "busy", "held", "draining", "backoff", "failed")

EVERY = 2 * BUCKETS_PER_DOUBLING
"""Bounds that are shown: one for each four-fold time."""


class Metrics(Collector):
    """Of one runtime."""

    kind = CONTENT_TYPE_LATEST

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._spent: dict[str, _Spent] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Called by the registry: nothing else may have these names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each page."""
        rows = self._runtime.fleet.rows()
        yield self._requests()
        yield from self._histograms()
        yield from self._queue()
        yield from self._workers(rows)
        yield from self._processes(rows)
        yield InfoMetricFamily(
            "faucet_build", "The program.", {"version": __version__, "python": platform.python_version()}
        )

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "faucet_requests", "Requests that have ended, by worker (none: no worker had it) and class of the status.",
            labels=["worker", "status"],
        )  # fmt: skip
        for name, counts in sorted(self._runtime.proxy.stats.requests_by_worker().items()):
            for first, count in enumerate(counts):
                if count:
                    family.add_metric([name or "none", f"{first}xx"], count)
        return family

    def _histograms(self) -> Iterator[Metric]:
        stats = self._runtime.proxy.stats
        yield _histogram("faucet_service_seconds", "From the lock to the end of the answer.", stats.service)
        yield _histogram("faucet_queue_wait_seconds", "Time that a request waited for a lock.", stats.waited)
        yield _histogram("faucet_lock_held_seconds", "Time for which a worker's lock was held.", stats.held)

    def _queue(self) -> Iterator[Metric]:
        proxy = self._runtime.proxy
        yield GaugeMetricFamily("faucet_queue_length", "Requests that wait for a worker.", proxy.dispatcher.waiting)
        yield GaugeMetricFamily("faucet_queue_limit", "Requests that may wait.", proxy.dispatcher.queue_limit)
        yield GaugeMetricFamily("faucet_locks_held", "Workers whose lock is held.", proxy.dispatcher.locked)
        yield GaugeMetricFamily("faucet_client_connections", "Connections of clients.", len(proxy.clients))
        yield GaugeMetricFamily("faucet_client_connections_limit", "Connections that may be.", proxy.max_clients)
        yield GaugeMetricFamily("faucet_buffered_bytes", "Bytes in buffers, of those counted.", proxy.budget.used)
        yield GaugeMetricFamily("faucet_buffered_bytes_limit", "Bytes that may be in buffers.", proxy.budget.total)
        waiting = len(proxy.budget.bodies)
        yield GaugeMetricFamily("faucet_bodies_waiting", "Request bodies that wait for room in buffers.", waiting)
        yield GaugeMetricFamily("faucet_tunnels", "WebSockets.", len(proxy.tunnels))
        refused = CounterMetricFamily("faucet_refusals", "Requests answered with 503, by reason.", labels=["reason"])
        for reason, count in sorted(proxy.stats.refusals.items()):
            refused.add_metric([reason], count)
        yield refused
        shortages = CounterMetricFamily(
            "faucet_descriptor_shortages", "File descriptors that were missing, by what for.", labels=["purpose"]
        )
        for purpose, count in sorted(proxy.descriptors.shortages.items()):
            shortages.add_metric([purpose], count)
        yield shortages
        yield CounterMetricFamily(
            "faucet_log_lines_lost", "Lines that could not be written to the log.", self._runtime.recent_log.lost()
        )

    def _workers(self, rows: list[WorkerRow]) -> Iterator[Metric]:
        workers = GaugeMetricFamily("faucet_workers", "Workers, by state.", labels=["state"])
        states = [row.state for row in rows]
        for state in STATES:
            workers.add_metric([state], states.count(state))
        yield workers
        restarts = CounterMetricFamily("faucet_worker_restarts", "Workers replaced, by reason.", labels=["reason"])
        for reason, count in sorted(self._runtime.proxy.stats.restarts.items()):
            restarts.add_metric([reason], count)
        yield restarts
        shortages = CounterMetricFamily(
            "faucet_worker_start_shortages", "Starts of workers that failed for want of a resource of this machine.",
            labels=["resource"],
        )  # fmt: skip
        for resource in RESOURCES:
            shortages.add_metric([resource], self._runtime.proxy.stats.shortages.get(resource, 0))
        yield shortages

    def _processes(self, rows: list[WorkerRow]) -> Iterator[Metric]:
        """CPU and memory of workers on this machine."""
        import psutil

        rss = GaugeMetricFamily(
            "faucet_worker_resident_memory_bytes", "Memory of a worker's process.", labels=["worker"]
        )
        for row in rows:
            if row.pid and row.name.isdecimal():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(row.pid)
                    times = process.cpu_times()
                    self._spent.setdefault(row.name, _Spent()).see(row.pid, times.user + times.system)
                    rss.add_metric([row.name], process.memory_info().rss)
        cpu = CounterMetricFamily(
            "faucet_worker_cpu_seconds",
            "CPU time of a worker, through all its processes, as far as scrapes have seen it.",
            labels=["worker"],
        )
        for name, spent in sorted(self._spent.items()):
            cpu.add_metric([name], spent.total)
        yield cpu
        yield rss


class _Spent:
    """CPU seconds of one worker: a sum over processes, so that a new one does not begin at 0."""

    def __init__(self) -> None:
        self._pid = 0
        self._before = 0.0
        self._now = 0.0

    def see(self, pid: int, seconds: float) -> None:
        """Take what a process has used up to now."""
        if pid != self._pid:
            self._before += self._now
            self._pid = pid
        self._now = seconds

    @property
    def total(self) -> float:
        """Of all processes."""
        return self._before + self._now


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    """With fewer buckets than are kept."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    for index, (count, bound) in enumerate(zip(histogram.counts, BUCKET_BOUNDS, strict=False)):
        seen += count
        if index % EVERY == EVERY - 1:
            buckets.append((f"{bound:.6g}", seen))
    buckets.append(("+Inf", histogram.total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
