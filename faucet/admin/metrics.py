"""The metrics page, built from existing counters: only a scrape has a cost, requests have none.

Names and units follow the conventions of Prometheus: base units, and `_total` at the end of counters. No label contains
raw input of a client: endpoints are folded, and their number is bounded (`status.endpoints`).
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from faucet import __version__
from faucet.proxy.stats import BUCKET_BOUNDS, BUCKETS_PER_DOUBLING, Histogram
from faucet.proxy.tls_clients import FAILURES
from faucet.status.collect import Runtime
from faucet.status.limits import limit_rows
from faucet.workers.shortages import RESOURCES

if TYPE_CHECKING:
    from faucet.status.snapshot import WorkerRow

STATES = ("starting", "ready", "busy", "held", "draining", "backoff", "failed")

ROLES = ("active", "relay", "waiting")

EVERY = 2 * BUCKETS_PER_DOUBLING
"""Every EVERY-th bucket bound is exported, so that each exported bound is four times the one before."""


class Metrics(Collector):
    """The metrics of one runtime."""

    kind = CONTENT_TYPE_LATEST

    def __init__(self, runtime: Runtime, by_endpoint: bool = True) -> None:
        self._runtime = runtime
        self._by_endpoint = by_endpoint
        self._spent: dict[str, _Spent] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Called by the registry. There is no other collector, so the names need no check."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each scrape."""
        rows = self._runtime.workers()
        yield self._requests()
        yield from self._histograms()
        if self._by_endpoint:
            yield from self._endpoints()
        yield from self._queue()
        yield from self._limits()
        yield from self._tls()
        yield from self._workers(rows)
        yield from self._group()
        yield from self._processes(rows)
        yield InfoMetricFamily(
            "faucet_build",
            "Faucet and Python.",
            {"version": __version__, "python": platform.python_version()},
        )

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "faucet_requests", "Finished requests, by worker (none: no worker got it) and status class.",
            labels=["worker", "status"],
        )  # fmt: skip
        for name, counts in sorted(self._runtime.proxy.stats.requests_by_worker().items()):
            for first, count in enumerate(counts):
                if count:
                    family.add_metric([name or "none", f"{first}xx"], count)
        return family

    def _histograms(self) -> Iterator[Metric]:
        stats = self._runtime.proxy.stats
        yield _histogram("faucet_service_seconds", "Time from the lock to the end of the response.", stats.service)
        yield _histogram("faucet_queue_wait_seconds", "Time that a request was queued.", stats.waited)
        yield _histogram("faucet_lock_held_seconds", "Time that a worker's lock was held.", stats.held)

    def _endpoints(self) -> Iterator[Metric]:
        endpoints = self._runtime.endpoints
        endpoints.follow(self._runtime.proxy.stats)
        totals = endpoints.totals
        yield _by("endpoint", "faucet_endpoint_requests", "Finished requests.",
                  {name: tally.requests for name, tally in totals.items()})  # fmt: skip
        yield _by("endpoint", "faucet_endpoint_errors", "Responses of the class 5xx.",
                  {name: tally.errors for name, tally in totals.items()})  # fmt: skip
        yield _by("endpoint", "faucet_endpoint_service_seconds", "Time from the lock to the end of the response.",
                  {name: tally.held for name, tally in totals.items()})  # fmt: skip
        yield _by("endpoint", "faucet_endpoint_queue_wait_seconds", "Time that requests were queued.",
                  {name: tally.waited for name, tally in totals.items()})  # fmt: skip
        yield CounterMetricFamily("faucet_endpoint_requests_uncounted",
                                  "Finished requests that came too fast to be counted by endpoint.",
                                  endpoints.uncounted)  # fmt: skip

    def _queue(self) -> Iterator[Metric]:
        proxy = self._runtime.proxy
        yield GaugeMetricFamily("faucet_queue_length", "Queued requests.", proxy.pool.dispatcher.waiting)
        yield GaugeMetricFamily("faucet_queue_limit", "Requests that may be queued.", proxy.pool.dispatcher.queue_limit)
        yield GaugeMetricFamily("faucet_locks_held", "Workers whose lock is held.", proxy.pool.dispatcher.locked)
        yield GaugeMetricFamily("faucet_client_connections", "Client connections.", len(proxy.clients))
        yield GaugeMetricFamily("faucet_client_connections_limit", "Allowed client connections.", proxy.clients.limit)
        yield GaugeMetricFamily("faucet_buffered_bytes", "Used bytes of the buffer budget.", proxy.clients.budget.used)
        yield GaugeMetricFamily(
            "faucet_buffered_bytes_limit", "The buffer budget in bytes.", proxy.clients.budget.total
        )
        yield GaugeMetricFamily("faucet_spool_bytes", "Used bytes of temporary files.", proxy.clients.space.used)
        yield GaugeMetricFamily("faucet_spool_bytes_limit", "Allowed bytes of them.", proxy.clients.space.limit)
        waiting = len(proxy.clients.budget.bodies)
        yield GaugeMetricFamily("faucet_bodies_waiting", "Request bodies that wait for buffer space.", waiting)
        yield GaugeMetricFamily("faucet_tunnels", "Open WebSocket connections.", len(proxy.clients.tunnels))
        yield _by("reason", "faucet_refusals", "Requests and clients refused with 503.", proxy.stats.refusals)
        yield _by(
            "purpose", "faucet_descriptor_shortages", "File descriptors that were missing for a connection.",
            proxy.pool.descriptors.shortages,
        )  # fmt: skip
        kept = self._runtime.history.size + self._runtime.endpoints.size
        yield GaugeMetricFamily("faucet_history_bytes", "Memory of the history that figures are made of.", kept)
        yield CounterMetricFamily(
            "faucet_log_lines_lost", "Log lines that could not be written.", self._runtime.recent_log.lost()
        )

    def _limits(self) -> Iterator[Metric]:
        """Yield the bound and the current usage of each limit; nothing without limits."""
        limits = limit_rows(self._runtime.proxy.pool)
        for name, text, value in (
            ("faucet_limit_locks_held", "Locks that requests under a limit hold.", attrgetter("locked")),
            ("faucet_limit_locks_limit", "Locks that they may hold; 0: any number.", attrgetter("at_once")),
            ("faucet_limit_queue_length", "Queued requests under a limit.", attrgetter("waiting")),
            ("faucet_limit_queue_limit", "How many of them may be queued.", attrgetter("queue_limit")),
        ):
            family = GaugeMetricFamily(name, text, labels=["limit"])
            for row in limits:
                family.add_metric([row.match], value(row))
            if limits:
                yield family
        if limits:
            yield _by("limit", "faucet_limit_refusals", "Requests refused with 503.",
                      {row.match: row.refused for row in limits})  # fmt: skip

    def _tls(self) -> Iterator[Metric]:
        """Yield the metrics of clients that speak TLS; nothing if none do."""
        tls, state = self._runtime.proxy.tls, self._runtime.certificate
        if tls is None or state is None:
            return
        yield CounterMetricFamily("faucet_tls_handshakes", "Successful TLS handshakes.", tls.done)
        yield CounterMetricFamily("faucet_tls_handshakes_resumed", "Those that resumed a session.", tls.resumed)
        yield _by("reason", "faucet_tls_handshake_failures", "Failed TLS handshakes.",
                  {reason: tls.failed[reason] for reason in FAILURES})  # fmt: skip
        yield GaugeMetricFamily("faucet_tls_handshakes_in_progress", "TLS handshakes in progress.", len(tls))
        yield GaugeMetricFamily("faucet_tls_connections", "Client connections inside TLS, WebSockets too.", tls.open)
        yield GaugeMetricFamily("faucet_tls_memory_bytes", "Estimated memory of these connections and handshakes in "
                                "OpenSSL, without buffered data.", tls.memory)  # fmt: skip
        yield GaugeMetricFamily("faucet_tls_certificate_expires_seconds", "Seconds until the certificate expires.",
                                state().left)  # fmt: skip
        yield GaugeMetricFamily("faucet_tls_certificate_refused", "Whether the certificate on disk cannot be used.",
                                bool(state().refused))  # fmt: skip

    def _workers(self, rows: list[WorkerRow]) -> Iterator[Metric]:
        workers = GaugeMetricFamily("faucet_workers", "Workers, by state.", labels=["state"])
        states = [row.state for row in rows]
        for state in STATES:
            workers.add_metric([state], states.count(state))
        yield workers
        stats = self._runtime.proxy.stats
        yield _by("reason", "faucet_worker_restarts", "Workers replaced.", stats.restarts)
        yield _by(
            "resource", "faucet_worker_start_shortages", "Failed worker starts, by the resource that had run out.",
            {resource: stats.start_shortages.get(resource, 0) for resource in RESOURCES},
        )  # fmt: skip

    def _group(self) -> Iterator[Metric]:
        """Yield the metrics of one Faucet of several; nothing without --ha."""
        group = self._runtime.fleet.origin().group
        if group is None:
            return
        roles = GaugeMetricFamily("faucet_role", "Role among the Faucets of the service: 1 for one.", labels=["role"])
        for role in ROLES:
            roles.add_metric([role], role == group.role)
        yield roles
        yield GaugeMetricFamily("faucet_epoch", "Number of the active's take-over.", group.epoch)
        yield GaugeMetricFamily("faucet_pods_quarantined", "Pods that may be busy for an earlier active.",
                                group.quarantined)  # fmt: skip
        yield CounterMetricFamily("faucet_lease_renewals", "Renewals of the Lease by this Faucet.", group.renewals)
        yield CounterMetricFamily("faucet_takeovers", "Take-overs by this Faucet from another.", group.takeovers)
        yield CounterMetricFamily("faucet_relayed_requests", "Requests handed to the active.", group.relayed)

    def _processes(self, rows: list[WorkerRow]) -> Iterator[Metric]:
        """Yield CPU and memory of workers on this machine."""
        import psutil

        rss = GaugeMetricFamily(
            "faucet_worker_resident_memory_bytes", "Resident memory of a worker's process.", labels=["worker"]
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
            "CPU time of a worker, summed over its successive processes, as seen by scrapes.",
            labels=["worker"],
        )
        for name, spent in sorted(self._spent.items()):
            cpu.add_metric([name], spent.total)
        yield cpu
        yield rss


class _Spent:
    """CPU seconds of one worker, summed over its processes, so that a new process does not reset the counter."""

    def __init__(self) -> None:
        self._pid = 0
        self._before = 0.0
        self._now = 0.0

    def see(self, pid: int, seconds: float) -> None:
        """Record the CPU seconds of process `pid` until now."""
        if pid != self._pid:
            self._before += self._now
            self._pid = pid
        self._now = seconds

    @property
    def total(self) -> float:
        """CPU seconds of all processes."""
        return self._before + self._now


def _by(label: str, name: str, text: str, counts: Mapping[str, float]) -> Metric:
    """Return a counter with one label. `text` describes the counter without the label."""
    family = CounterMetricFamily(name, f"{text.rstrip('.')}, by {label}.", labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    """Return `histogram` as a metric, with every EVERY-th bound only."""
    buckets: list[tuple[str, float]] = []
    seen = 0
    for index, (count, bound) in enumerate(zip(histogram.counts, BUCKET_BOUNDS, strict=False)):
        seen += count
        if index % EVERY == EVERY - 1:
            buckets.append((f"{bound:.6g}", seen))
    buckets.append(("+Inf", histogram.total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
