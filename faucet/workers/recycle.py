"""Looks after the workers once a second: those that are too old, too large or unwell, and whether there are enough.

It only asks of the pool what a person could ask, too: replace one, scale. Never two replacements at once, and none
while more requests wait than there are workers. The tick is one for all: ages could be timers, sizes cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from faucet.units import format_duration, format_size
from faucet.workers.health import Hung, Unhealthy, check
from faucet.workers.instance import Instance
from faucet.workers.slot import Slot

if TYPE_CHECKING:
    from faucet.workers.supervisor import Supervisor

TICK = 1.0

RSS_SETTLES = 3.0
"""Seconds after its start from which the size of a worker counts: a limit that is too small must not eat all time."""

FAILURES_LIMIT = 3
"""Health checks in a row that fail before a worker is replaced."""

PAUSE_AFTER_FAILURE = 60.0
"""Seconds after a replacement that did not become ready in which no other is tried."""


class Overseer:
    """The one of a pool."""

    def __init__(self, pool: Supervisor) -> None:
        self._pool = pool
        self._settings = pool.settings
        self._timer: asyncio.TimerHandle | None = None
        self._recycling = False
        self._not_before = 0.0
        self._last_recycled = 0  # number of a place: the next ones have their turn first
        self._checks: dict[Slot, asyncio.Task[Any]] = {}
        self._asked: dict[Slot, float] = {}
        self._failures: WeakKeyDictionary[Instance, int] = WeakKeyDictionary()
        self._idle_since = monotonic()

    def start(self) -> None:
        """Begin."""
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._checks.values():
            task.cancel()

    def _tick(self) -> None:
        self.start()
        if not self._pool.ending:
            self._autoscale()
            self._recycle()
            self._check_health()

    # -- too old, too large --------------------------------------------------------------------------------------

    def _recycle(self) -> None:
        pool, dispatcher = self._pool, self._pool.proxy.dispatcher
        busy = self._recycling or pool.rolling is not None or any(slot.being_replaced for slot in pool.slots)
        if busy or monotonic() < self._not_before or dispatcher.waiting > dispatcher.size:
            return
        for slot in sorted(pool.slots, key=lambda slot: (slot.number <= self._last_recycled, slot.number)):
            why = self._worn(slot)
            if why:
                self._recycling = True
                self._last_recycled = slot.number
                pool.act(self._replace(slot, why), f"recycling of worker {slot}")
                return

    def _worn(self, slot: Slot) -> str:
        """Why a worker is to be replaced; empty if it is not."""
        instance, settings = slot.instance, self._settings
        if instance is None or not instance.in_service or slot.held:
            return ""
        if self._failures.get(instance, 0) >= FAILURES_LIMIT:
            return "since it is unwell"
        age = monotonic() - instance.ready_at
        if settings.max_age and age > settings.max_age * instance.jitter:
            return f"after {format_duration(age)} (--max-age)"
        served = self._pool.served(slot) - instance.served_before
        if settings.max_requests and served >= settings.max_requests * instance.jitter:
            return f"after {served} requests (--max-requests)"
        size = _resident(instance) if settings.max_rss and age > RSS_SETTLES else 0
        if size > settings.max_rss:
            return f"at {format_size(size)}, {format_duration(age)} after its start (--max-rss)"
        return ""

    async def _replace(self, slot: Slot, why: str) -> None:
        slot.log.info("replaced %s", why)
        try:
            if not await self._pool.replace(slot, f"replaced {why}"):
                self._not_before = monotonic() + PAUSE_AFTER_FAILURE
        finally:
            self._recycling = False

    # -- unwell ------------------------------------------------------------------------------------------------

    def _check_health(self) -> None:
        if not self._settings.health_path:
            return
        now = monotonic()
        for slot in self._pool.slots:
            due = now - self._asked.get(slot, 0.0) >= self._settings.health_interval
            if due and slot not in self._checks and slot.instance is not None and slot.instance.in_service:
                self._checks[slot] = self._pool.act(self._check(slot, slot.instance), f"health check of worker {slot}")

    async def _check(self, slot: Slot, instance: Instance) -> None:
        asked = True
        try:
            asked = instance.backend is not None and await check(
                self._pool.proxy, instance.backend, self._settings.health_path
            )
            if asked:
                self._failures.pop(instance, None)
        except Hung as error:
            slot.log.warning("%s; it is killed and replaced", error)
            instance.kill("it did not answer its health check")
        except Unhealthy as error:
            failures = self._failures[instance] = self._failures.get(instance, 0) + 1
            slot.log.warning("unwell, %d of %d: %s", failures, FAILURES_LIMIT, error)
        except asyncio.CancelledError:
            pass  # the service ends
        finally:
            self._checks.pop(slot, None)
            if asked:  # or else it was busy, or is gone: again with the next tick
                # From its end: a check that takes longer than the interval must not hold the worker all the time.
                self._asked[slot] = monotonic()

    # -- enough ------------------------------------------------------------------------------------------------

    def _autoscale(self) -> None:
        pool, dispatcher = self._pool, self._pool.proxy.dispatcher
        if pool.least == pool.most:
            return
        now = monotonic()
        if dispatcher.waiting or dispatcher.locked >= pool.count or pool.changing:
            self._idle_since = now  # every worker is needed, or not all are here yet
        oldest = next((since for _, since in dispatcher.queue()), now)
        waited, idle = now - oldest, now - self._idle_since
        if waited > self._settings.scale_up_after and pool.count < pool.most and not pool.starting:
            pool.scale(pool.count + 1, f"a queue that has waited {format_duration(waited)}")
        elif idle > self._settings.scale_down_after and pool.count > pool.least and not pool.slots[-1].held:
            self._idle_since = now  # the next one after as long again
            pool.scale(pool.count - 1, f"{format_duration(idle)} in which not all workers were needed")


def _resident(instance: Instance) -> int:
    """Bytes of memory of its process; 0 if that cannot be told."""
    import psutil

    with contextlib.suppress(psutil.Error):
        if instance.process is not None and not instance.process.exited.done():
            size: int = psutil.Process(instance.process.pid).memory_info().rss
            return size
    return 0
