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
        yield from _processes(rows)
        yield InfoMetricFamily(
            "faucet_build", "The program.", {"version": __version__, "python": platform.python_version()}
        )

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "faucet_requests", "Requests that have ended, by worker (none: no worker had it) and class of the status.",
            labels=["worker", "status"],
        )  # fmt: skip
        stats = self._runtime.proxy.stats
        by_workers = [0] * len(stats.by_class)
        for name, worker in sorted(stats.workers.items()):
            for first, count in enumerate(worker.by_class):
                if count:
                    family.add_metric([name, f"{first}xx"], count)
                by_workers[first] += count
        for first, (count, known) in enumerate(zip(stats.by_class, by_workers, strict=True)):
            if count > known:
                family.add_metric(["none", f"{first}xx"], count - known)
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
        yield GaugeMetricFamily("faucet_tunnels", "WebSockets.", len(proxy.tunnels))
        refused = CounterMetricFamily("faucet_refusals", "Requests answered with 503, by reason.", labels=["reason"])
        for reason, count in sorted(proxy.stats.refusals.items()):
            refused.add_metric([reason], count)
        yield refused

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


def _processes(rows: list[WorkerRow]) -> Iterator[Metric]:
    """CPU and memory of workers on this machine."""
    import psutil

    cpu = CounterMetricFamily("faucet_worker_cpu_seconds", "CPU time of a worker's process.", labels=["worker"])
    rss = GaugeMetricFamily("faucet_worker_resident_memory_bytes", "Memory of a worker's process.", labels=["worker"])
    for row in rows:
        if row.pid and row.name.isdecimal():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(row.pid)
                times = process.cpu_times()
                cpu.add_metric([row.name], times.user + times.system)
                rss.add_metric([row.name], process.memory_info().rss)
    yield cpu
    yield rss
