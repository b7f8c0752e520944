"""Scale the number of workers with the load, within the limits of `--workers 2..8`. With `--spare`, keep more workers
than are busy; with `--workers 0..4`, keep none while there are no requests."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from faucet.settings import Span, WorkerSettings
from faucet.units import counted, format_duration
from faucet.workers.health_lock import Check
from faucet.workers.pool import Pool


@dataclass(frozen=True, slots=True)
class Load:
    """The load, from which the number of workers is computed."""

    workers: int
    """Number of workers that should currently run."""
    starting: int
    """Number of workers that are not in service yet."""
    free: int
    """Number of workers that would take a request immediately."""
    waited: float
    """Seconds for which the first request has been queued that only lacks a worker; 0 if none is."""
    idle: float
    """Seconds for which not all workers were needed."""
    quiet: float
    """Seconds without any request of a client."""
    last_held: bool
    """Whether the worker that would be stopped next is held by a command."""


def wanted(load: Load, span: Span, settings: WorkerSettings) -> int:
    """Return the number of workers that should run: the current number, more, or one less."""
    if span.least == span.most:
        return load.workers
    more = min(_lacking(load, settings), span.most - load.workers)
    if more > 0:
        return load.workers + more
    return load.workers - _is_one_too_many(load, span, settings)


def first(span: Span, settings: WorkerSettings) -> int:
    """Return the initial number of workers: at least one, to find out whether a worker can be started."""
    return min(max(span.least, settings.spare, 1), span.most)


def _lacking(load: Load, settings: WorkerSettings) -> int:
    spare = settings.spare - load.free - load.starting
    if spare > 0:
        return spare
    patience = settings.scale_up_after if load.workers else 0.0
    return int(load.waited > patience and not load.starting)


def _is_one_too_many(load: Load, span: Span, settings: WorkerSettings) -> bool:
    if load.last_held or load.workers <= span.least:
        return False
    if load.workers > 1:
        return load.idle > settings.scale_down_after
    return load.quiet > settings.idle_timeout and not settings.spare


class Autoscaler:
    """Scales one pool. Call `look` once a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._proxy = pool.context.proxy
        self._idle_since = self._quiet_since = monotonic()
        self._seen = 0  # requests that had ended at the last check
        self._proxy.pool.on_wake = self._wake

    def look(self) -> None:
        """Add or remove workers, if the load demands it."""
        pool, load = self._pool, self._load()
        count, target = load.workers, wanted(load, pool.span, pool.context.settings)
        if target > count:
            pool.scale(target, self._why_more(load))
        elif target < count:
            self._idle_since = monotonic()  # the next worker is removed after the same time again
            pool.scale(target, f"{format_duration(load.idle)} in which not all workers were needed" if target else
                       f"{format_duration(load.quiet)} without a request (--idle-timeout)")  # fmt: skip

    def _load(self) -> Load:
        pool, dispatcher, now = self._pool, self._proxy.pool.dispatcher, monotonic()
        count = len(pool.slots)
        if dispatcher.runnable or dispatcher.locked + pool.context.settings.spare >= count or pool.changing:
            self._idle_since = now  # every worker is needed, or not all are here yet
        if pool.changing or self._is_wanted_by_a_client():
            self._quiet_since = now
        since = dispatcher.runnable_since  # who waits for its limit is not served sooner by another worker
        in_service = [slot for slot in pool.slots if slot.in_service]
        return Load(
            workers=count,
            starting=count - len(in_service),
            free=sum(
                not slot.held and slot.instance is not None and slot.instance.lease is None for slot in in_service
            ),
            waited=0.0 if since is None else now - since,
            idle=now - self._idle_since,
            quiet=now - self._quiet_since,
            last_held=bool(pool.slots) and pool.slots[-1].held,
        )

    def _is_wanted_by_a_client(self) -> bool:
        """Whether clients need a worker: a request is queued, in flight, or has just ended, or a WebSocket is open."""
        before, self._seen = self._seen, self._proxy.stats.exchanges
        if self._seen != before or self._proxy.pool.dispatcher.waiting or self._proxy.clients.tunnels:
            return True
        return any(not isinstance(lease.holder, Check) for lease in self._proxy.pool.dispatcher.leases())

    def _why_more(self, load: Load) -> str:
        if load.waited > self._pool.context.settings.scale_up_after or not load.workers:
            return f"a queue that has waited {format_duration(load.waited)}"
        return f"{counted(load.free, 'free worker')} of {self._pool.context.settings.spare} (--spare)"

    def _wake(self) -> None:
        """Start a worker for a request that arrived while no worker runs."""
        if not self._pool.slots and not self._pool.ending:
            self._pool.scale(1, "a request, while no worker ran")
