"""Workers as rows of a snapshot: the status from the fleet, the state of the lock, and figures about requests."""

from __future__ import annotations

from time import localtime, strftime
from typing import TYPE_CHECKING, Any, TypedDict

from faucet.fleet import WorkerDetails, WorkerStatus
from faucet.proxy.record import describe
from faucet.proxy.stats import WorkerStats
from faucet.status.history import Window
from faucet.status.moments import epoch, moment
from faucet.status.quantiles import figure
from faucet.status.snapshot import WorkerRow

if TYPE_CHECKING:
    from faucet.proxy.holders import PoolLease
    from faucet.proxy.server import Proxy

NOTHING = WorkerStats()
"""The statistics of a worker that has served no request."""


class _Figures(TypedDict):
    """The fields of a WorkerRow about the requests it has served."""

    requests: int
    errors: int
    rps: float
    p50: float | None
    p95: float | None


class _LockFields(TypedDict):
    """The fields of a WorkerRow about its lock."""

    locked: float
    request: str
    client: str
    left: float


def worker_row(status: WorkerStatus, proxy: Proxy, window: Window) -> WorkerRow:
    """Return the row of one worker, or of one of its processes, with the figures of `window`."""
    lease = None if status.backend is None else proxy.pool.dispatcher.lease(status.backend)
    state, reason = _state(status, locked=lease is not None)
    return WorkerRow(
        key=status.key,
        name=status.name,
        state=state,
        reason=reason,
        pid=status.pid,
        port=status.port,
        since=moment(status.since),
        **_lock_fields(lease),
        **_figures(status.counted_as, proxy, window),
        restarts=status.restarts,
        address=status.address,
        exited=0.0 if status.last_exit is None else epoch(status.last_exit.when),
        exit="" if status.last_exit is None else status.last_exit.text,
    )


def worker_details(details: WorkerDetails, proxy: Proxy, window: Window) -> dict[str, Any]:
    """Return all details of a worker: its row, what its fleet knows, and its latest service times in seconds."""
    stats = proxy.stats.workers.get(details.status.counted_as, NOTHING)
    row = worker_row(details.status, proxy, window)
    values = dict(details.values)
    if "exits" in values:
        values["exits"] = [(epoch(ended.when), ended.text) for ended in values["exits"]]
    return {"row": row, **values, "durations": [seconds for _, seconds in stats.recent]}


def _state(status: WorkerStatus, locked: bool) -> tuple[str, str]:
    """Return the state of a worker, and why it gets no requests (empty if it gets requests)."""
    if status.state == "ready":
        return ("busy" if locked else "ready"), status.reason
    if status.state == "held" and not locked:
        return "held", status.reason or "no requests until resumed"
    if status.next_try is None:
        return status.state, status.reason
    return status.state, f"{status.reason}; next try at {strftime('%H:%M:%S', localtime(epoch(status.next_try)))}"


def _figures(name: str, proxy: Proxy, window: Window) -> _Figures:
    """Return the fields about the requests that are counted under `name`."""
    stats, times = proxy.stats.workers.get(name, NOTHING), window.times(name)
    return _Figures(
        requests=stats.requests,
        errors=stats.errors,
        rps=round(sum(map(len, times)) / window.seconds, 2),
        p50=figure(times, 0.5),
        p95=figure(times, 0.95),
    )


def _lock_fields(lease: PoolLease | None) -> _LockFields:
    """Return the fields about the lock. A `lease` of None means that the lock is free."""
    if lease is None:
        return _LockFields(locked=0.0, request="", client="", left=0.0)
    account = lease.holder.account
    return _LockFields(locked=epoch(lease.since), request=describe(account), client=account.client,
                       left=moment(account.left_at or None))  # fmt: skip
