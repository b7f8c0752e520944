"""The fields of a WorkerRow that local workers and pods have in common."""

from __future__ import annotations

from time import monotonic, time
from typing import TypedDict

from faucet.proxy.pool import PoolLease
from faucet.proxy.record import describe
from faucet.proxy.stats import WORKER_RING_SIZE, WorkerStats, quantile_of

EPOCH = time() - monotonic()
"""Seconds since the epoch at which the monotonic clock read 0."""

RATE_SECONDS = 10.0
"""Seconds over which the request rate is averaged."""
QUANTILE_SECONDS = 60.0
"""Seconds over which quantiles of the service time are taken."""

NOTHING = WorkerStats()
"""The statistics of a worker that has served no request."""


class Figures(TypedDict):
    """The fields of a WorkerRow about the requests it has served."""

    requests: int
    errors: int
    rps: float
    p50: float
    p95: float


class LockFigures(TypedDict):
    """The fields of a WorkerRow about its lock."""

    locked: float
    request: str
    client: str


def figures(stats: WorkerStats) -> Figures:
    """Return the fields about the requests in `stats`."""
    now = time()
    latest = [(when, seconds) for when, seconds in stats.recent if when > now - QUANTILE_SECONDS]
    durations = sorted(seconds for _, seconds in latest)
    return Figures(
        requests=stats.requests,
        errors=stats.errors,
        rps=_rate(latest, now),
        p50=quantile_of(durations, 0.5),
        p95=quantile_of(durations, 0.95),
    )


def lock_figures(lease: PoolLease | None) -> LockFigures:
    """Return the fields about the lock; None: it is free."""
    if lease is None:
        return LockFigures(locked=0.0, request="", client="")
    account = lease.holder.account
    return LockFigures(locked=epoch(lease.since), request=describe(account), client=account.client)


def _rate(latest: list[tuple[float, float]], now: float) -> float:
    """Return requests per second. If the ring is too short for RATE_SECONDS, over the time it covers."""
    recent = [when for when, _ in latest if when > now - RATE_SECONDS]
    if not recent:
        return 0.0
    return len(recent) / (RATE_SECONDS if len(recent) < WORKER_RING_SIZE else max(now - recent[0], 0.001))


def epoch(moment: float) -> float:
    """Return a reading of the monotonic clock as seconds since the epoch, to the hundredth; stable for one reading."""
    return round(EPOCH + moment, 2)
