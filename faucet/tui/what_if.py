"""The effect of other numbers of workers: the latest requests are simulated with the dispatcher of the service.

Pure functions from requests to queue times. Arrivals and service times stay as recorded, and queue times are simulated.
A request without a worker gets the median service time of its endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from faucet.proxy.locks import Dispatcher, Lease, QueueFull
from faucet.status.endpoint import endpoint_of
from faucet.status.quantiles import quantile_of
from faucet.status.snapshot import RequestRow
from faucet.units import counted, format_duration

OTHERS = (-1, 0, 1, 2)
"""Numbers of workers that are simulated, relative to the current number."""

MOST = 5000
"""Most requests that are simulated, the latest ones. They take 20 ms for each number of workers."""

LEAST = 20
"""Least number of requests for a simulation."""


class Job(NamedTuple):
    """One request: when it arrived, and how long a worker is busy with it, in seconds."""

    arrived: float
    service: float


class Outcome(NamedTuple):
    """The result of a simulation with a number of workers. Durations are in seconds."""

    workers: int
    p50: float
    p95: float
    longest: float
    """Quantiles and maximum of the queue time, of requests that got a worker."""
    refused: int
    """Requests that found the queue full, or reached the queue timeout."""
    busy: float
    """Utilization of the workers, from 0 to 1."""


def jobs_of(requests: Sequence[RequestRow]) -> list[Job]:
    """Return the latest requests as jobs, in the order of arrival."""
    latest = requests[-MOST:]
    known: dict[str, list[float]] = {}
    for row in latest:
        if row.worker and row.service > 0:
            known.setdefault(endpoint_of(row.method, row.target), []).append(row.service)
    usual = {endpoint: quantile_of(sorted(times), 0.5) for endpoint, times in known.items()}
    jobs = []
    for row in latest:
        service = row.service if row.worker else usual.get(endpoint_of(row.method, row.target), 0.0)
        if service > 0:
            jobs.append(Job(row.ended - (row.service if row.worker else 0.0) - row.waited, service))
    return sorted(jobs)


def replayed(jobs: Sequence[Job], workers: int, queue_limit: int, queue_timeout: float | None = None) -> Outcome:
    """Simulate `jobs`, in the order of arrival, with `workers` (one or more), all free at first."""
    dispatcher: Dispatcher[int, int] = Dispatcher(queue_limit, queue_timeout)
    began = jobs[0].arrived if jobs else 0.0
    for worker in range(workers):
        dispatcher.add(worker, began)
    waits: list[float] = []
    ends: list[tuple[float, int, Lease[int, int]]] = []
    refused, used, until = 0, 0.0, began

    def serve(lease: Lease[int, int] | None, now: float) -> None:
        nonlocal used, until
        if lease is not None:
            job = jobs[lease.holder]
            waits.append(now - job.arrived)
            used += job.service
            until = max(until, now + job.service)
            heappush(ends, (now + job.service, lease.holder, lease))

    def finish(before: float) -> None:
        """Process all releases of locks and all queue timeouts up to the moment `before`."""
        nonlocal refused
        while ends and ends[0][0] <= before:
            now, _, lease = heappop(ends)
            refused += len(dispatcher.expire(now))
            serve(dispatcher.release(lease, now), now)

    for number, job in enumerate(jobs):
        finish(job.arrived)
        refused += len(dispatcher.expire(job.arrived))
        try:
            serve(dispatcher.acquire(number, job.arrived), job.arrived)
        except QueueFull:
            refused += 1
    finish(float("inf"))
    waits.sort()
    seconds = max(until - began, 1e-9)
    return Outcome(workers, quantile_of(waits, 0.5), quantile_of(waits, 0.95), waits[-1] if waits else 0.0,
                   refused, used / workers / seconds)  # fmt: skip


def outcomes(requests: Sequence[RequestRow], workers: int, queue_limit: int) -> list[Outcome]:
    """Return the outcomes for several numbers of workers, in ascending order; empty if there are too few requests."""
    jobs = jobs_of(requests)
    if len(jobs) < LEAST or workers < 1:
        return []
    return [replayed(jobs, workers + by, queue_limit) for by in OTHERS if workers + by > 0]


TOO_FEW = (
    "Too few requests are known to say what other numbers of workers would change: at least 20 of the last 5 minutes. "
    "If more than about 200 requests a second are served, the monitor does not see them all."
)

EXPLAINED = (
    "The requests of the last 5 minutes, as they came, and as long as each kept its worker, through the dispatcher "
    "that serves. Clients that would have come back sooner, limits for endpoints, and what workers take from each "
    "other (processors, a database) are not in it."
)


def sentence(found: Sequence[Outcome], plain: bool) -> str:
    """Return the outcomes as a sentence: `6 workers: p95 wait 1.5s → 40ms`; empty without outcomes."""
    if not found:
        return ""
    now = found[1] if len(found) == len(OTHERS) else found[0]
    others = ", ".join(f"{_wait(each.p95)} with {each.workers}" for each in found if each is not now)
    arrow = "->" if plain else "→"
    return f"{counted(now.workers, 'worker')}: p95 wait {_wait(now.p95)} {arrow} {others}   W what if"


def forecast_text(found: Sequence[Outcome], measured: Sequence[float]) -> str:
    """Return the outcomes as a table. `measured`: the real queue times of the requests."""
    if not found:
        return TOO_FEW
    lines = ["WORKERS    QUEUED P50      P95      MAX   503   BUSY"]
    lines += [
        f"{each.workers:7}    {_wait(each.p50):>10} {_wait(each.p95):>8} {_wait(each.longest):>8} {each.refused:5} "
        f"{each.busy:6.0%}"
        for each in found
    ]
    really = sorted(measured)
    lines.append(f"{'in fact':>7}    {_wait(quantile_of(really, 0.5)):>10} {_wait(quantile_of(really, 0.95)):>8} "
                 f"{_wait(max(really, default=0.0)):>8}")  # fmt: skip
    return "\n".join([*lines, "", EXPLAINED])


def _wait(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 0.00005 else "0"
