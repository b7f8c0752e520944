"""Looks after the workers once a second: those that are too old, too large or unwell, and whether there are enough.

It only asks of the pool what a person could ask, too: replace one, scale. Never two replacements at once, and none
while more requests wait than there are workers. The tick is one for all: ages could be timers, sizes cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from faucet.units import counted, format_duration, format_size
from faucet.workers.health import Hung, Unhealthy, check
from faucet.workers.instance import Instance
from faucet.workers.slot import Slot

if TYPE_CHECKING:
    from faucet.workers.supervisor import Supervisor

TICK = 1.0

RSS_SETTLES = 3.0
"""Seconds after its start from which the size of a worker counts: a limit that is too small must not eat all time."""

FEW_REQUESTS = 3
"""Requests after which a worker is as large as it is from the start: many APIs load what they need with the first."""

TOO_LARGE_IN_A_ROW = 2
"""Replacements in a row that were too large when first looked at, or after FEW_REQUESTS: another one is no use."""

RSS_IS_HOPELESS = """\
--max-rss %s is less than a fresh worker needs: this one has %s, %s after its start, %s. Workers are not replaced for \
their size any more. Raise --max-rss, or make the API smaller and ask for a rolling restart, which tries again."""

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
        self._last_recycled = 0  # number of a slot: the next ones have their turn first
        self._checks: dict[Slot, asyncio.Task[Any]] = {}
        self._asked: WeakKeyDictionary[Slot, float] = WeakKeyDictionary()  # places are scaled away
        self._failures: WeakKeyDictionary[Instance, int] = WeakKeyDictionary()
        self._idle_since = monotonic()
        self._too_large = 0  # replacements in a row that were as large as what they replaced
        self._judged: WeakSet[Instance] = WeakSet()  # counted in that
        self._fitted: WeakSet[Instance] = WeakSet()  # were seen within the limit
        self._rss_is_hopeless = False

    def start(self) -> None:
        """Begin."""
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def code_changed(self) -> None:
        """Workers may be smaller from now on."""
        self._too_large = 0
        self._rss_is_hopeless = False

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
        pool, dispatcher = self._pool, self._pool.proxy.pool.dispatcher
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
        measured = settings.max_rss and age > RSS_SETTLES and not self._rss_is_hopeless
        size = _resident(instance) if measured else 0
        if size > settings.max_rss and not self._no_use(slot, instance, size, served):
            return f"at {format_size(size)}, {format_duration(age)} after its start (--max-rss)"
        if 0 < size <= settings.max_rss:
            self._fitted.add(instance)
        return ""

    def _no_use(self, slot: Slot, instance: Instance, size: int, served: int) -> bool:
        """Whether a replacement would be too large, too: then say so, once, and look at sizes no more."""
        served += instance.lease is not None  # it may have grown with the one that it is at work on
        if instance in self._fitted and served > FEW_REQUESTS:
            self._too_large = 0  # it has grown: that is what the limit is for
            return False
        if instance not in self._judged:
            self._judged.add(instance)
            self._too_large += 1
        if served and self._too_large <= TOO_LARGE_IN_A_ROW:
            return False
        self._rss_is_hopeless = True
        work = f"after {counted(served, 'request')}" if served else "before its first request"
        slot.log.warning(RSS_IS_HOPELESS, format_size(self._settings.max_rss), format_size(size),
                          format_duration(monotonic() - instance.began), work)  # fmt: skip
        return True

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
        pool, dispatcher = self._pool, self._pool.proxy.pool.dispatcher
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
