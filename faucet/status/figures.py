"""Numbers and texts of a worker that any kind of worker has, as a viewer sees them."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, TypedDict

from faucet.proxy.stats import WORKER_RING_SIZE, Record, WorkerStats, quantile_of
from faucet.status.snapshot import TARGET_LIMIT

if TYPE_CHECKING:
    from faucet.proxy.exchange import Exchange

EPOCH = time() - monotonic()
"""The moment of the epoch at which the monotonic clock read 0."""

RATE_SECONDS = 10.0
QUANTILE_SECONDS = 60.0

NOTHING = WorkerStats()
"""Of a worker that has served nothing yet."""


class Figures(TypedDict):
    """Fields of a WorkerRow."""

    requests: int
    errors: int
    rps: float
    p50: float
    p95: float


class LockFigures(TypedDict):
    """Fields of a WorkerRow."""

    locked: float
    request: str
    client: str


def figures(stats: WorkerStats) -> Figures:
    """What it has served."""
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


def lock_figures(holder: Exchange | None) -> LockFigures:
    """Who holds its lock, if somebody does."""
    if holder is None:
        return LockFigures(locked=0.0, request="", client="")
    account = holder.account
    return LockFigures(locked=epoch(account.granted_at), request=describe(account), client=account.client)


def _rate(latest: list[tuple[float, float]], now: float) -> float:
    """Requests a second. Where the ring is too short for the whole time, over the time it covers."""
    recent = [when for when, _ in latest if when > now - RATE_SECONDS]
    if not recent:
        return 0.0
    return len(recent) / (RATE_SECONDS if len(recent) < WORKER_RING_SIZE else max(now - recent[0], 0.001))


def describe(record: Record) -> str:
    """`POST /predict`."""
    return f"{record.method.decode()} {record.target[:TARGET_LIMIT].decode('latin-1')}"


def epoch(moment: float) -> float:
    """A reading of the monotonic clock as seconds since the epoch, to the hundredth: always the same for the same."""
    return round(EPOCH + moment, 2)
