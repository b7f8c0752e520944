"""Has as many workers as are needed, between the limits of `--workers 2-8`."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from faucet.settings import Span, WorkerSettings
from faucet.units import format_duration
from faucet.workers.pool import Pool


@dataclass(frozen=True, slots=True)
class Load:
    """What the number of workers depends on."""

    workers: int
    """Workers that there should be now."""
    starting: bool
    """Some of them are not in service yet."""
    waited: float
    """Seconds for which the first request has been queued that only lacks a worker; 0 if none is."""
    idle: float
    """Seconds in which not all workers were needed."""
    last_held: bool
    """The worker that would be ended next is held by somebody."""


def wanted(load: Load, span: Span, settings: WorkerSettings) -> int:
    """Return how many workers there should be: as many as now, or one more, or one less."""
    if span.least == span.most:
        return load.workers
    if load.waited > settings.scale_up_after and load.workers < span.most and not load.starting:
        return load.workers + 1
    if load.idle > settings.scale_down_after and load.workers > span.least and not load.last_held:
        return load.workers - 1
    return load.workers


class Autoscaler:
    """Scales one pool. Call `look` once a second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._idle_since = monotonic()

    def look(self) -> None:
        """Add or remove a worker, if the load demands it."""
        pool, dispatcher, now = self._pool, self._pool.context.proxy.pool.dispatcher, monotonic()
        count = len(pool.slots)
        if dispatcher.runnable or dispatcher.locked >= count or pool.changing:
            self._idle_since = now  # every worker is needed, or not all are here yet
        since = dispatcher.runnable_since  # who waits for its limit is not served sooner by another worker
        waited = 0.0 if since is None else now - since
        load = Load(count, pool.starting, waited, now - self._idle_since, pool.slots[-1].held)
        target = wanted(load, pool.span, pool.context.settings)
        if target > count:
            pool.scale(target, f"a queue that has waited {format_duration(load.waited)}")
        elif target < count:
            self._idle_since = now  # the next one after as long again
            pool.scale(target, f"{format_duration(load.idle)} in which not all workers were needed")
