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
from faucet.workers.life import Life
from faucet.workers.place import Place

if TYPE_CHECKING:
    from faucet.workers.local import LocalWorkers

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

    def __init__(self, pool: LocalWorkers) -> None:
        self._pool = pool
        self._settings = pool.settings
        self._timer: asyncio.TimerHandle | None = None
        self._recycling = False
        self._not_before = 0.0
        self._last_recycled = 0  # number of a place: the next ones have their turn first
        self._checks: dict[Place, asyncio.Task[Any]] = {}
        self._asked: WeakKeyDictionary[Place, float] = WeakKeyDictionary()  # places are scaled away
        self._failures: WeakKeyDictionary[Life, int] = WeakKeyDictionary()
        self._idle_since = monotonic()
        self._too_large = 0  # replacements in a row that were as large as what they replaced
        self._judged: WeakSet[Life] = WeakSet()  # counted in that
        self._fitted: WeakSet[Life] = WeakSet()  # were seen within the limit
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
        pool, dispatcher = self._pool, self._pool.proxy.dispatcher
        busy = self._recycling or pool.rolling is not None or any(place.being_replaced for place in pool.places)
        if busy or monotonic() < self._not_before or dispatcher.waiting > dispatcher.size:
            return
        for place in sorted(pool.places, key=lambda place: (place.number <= self._last_recycled, place.number)):
            why = self._worn(place)
            if why:
                self._recycling = True
                self._last_recycled = place.number
                pool.act(self._replace(place, why), f"recycling of worker {place}")
                return

    def _worn(self, place: Place) -> str:
        """Why a worker is to be replaced; empty if it is not."""
        life, settings = place.life, self._settings
        if life is None or not life.in_service or place.held:
            return ""
        if self._failures.get(life, 0) >= FAILURES_LIMIT:
            return "since it is unwell"
        age = monotonic() - life.ready_at
        if settings.max_age and age > settings.max_age * life.jitter:
            return f"after {format_duration(age)} (--max-age)"
        served = self._pool.served(place) - life.served_before
        if settings.max_requests and served >= settings.max_requests * life.jitter:
            return f"after {served} requests (--max-requests)"
        measured = settings.max_rss and age > RSS_SETTLES and not self._rss_is_hopeless
        size = _resident(life) if measured else 0
        if size > settings.max_rss and not self._no_use(place, life, size, served):
            return f"at {format_size(size)}, {format_duration(age)} after its start (--max-rss)"
        if 0 < size <= settings.max_rss:
            self._fitted.add(life)
        return ""

    def _no_use(self, place: Place, life: Life, size: int, served: int) -> bool:
        """Whether a replacement would be too large, too: then say so, once, and look at sizes no more."""
        served += life.holder is not None  # it may have grown with the one that it is at work on
        if life in self._fitted and served > FEW_REQUESTS:
            self._too_large = 0  # it has grown: that is what the limit is for
            return False
        if life not in self._judged:
            self._judged.add(life)
            self._too_large += 1
        if served and self._too_large <= TOO_LARGE_IN_A_ROW:
            return False
        self._rss_is_hopeless = True
        work = f"after {counted(served, 'request')}" if served else "before its first request"
        place.log.warning(RSS_IS_HOPELESS, format_size(self._settings.max_rss), format_size(size),
                          format_duration(monotonic() - life.began), work)  # fmt: skip
        return True

    async def _replace(self, place: Place, why: str) -> None:
        place.log.info("replaced %s", why)
        try:
            if not await self._pool.replace(place, f"replaced {why}"):
                self._not_before = monotonic() + PAUSE_AFTER_FAILURE
        finally:
            self._recycling = False

    # -- unwell ------------------------------------------------------------------------------------------------

    def _check_health(self) -> None:
        if not self._settings.health_path:
            return
        now = monotonic()
        for place in self._pool.places:
            due = now - self._asked.get(place, 0.0) >= self._settings.health_interval
            if due and place not in self._checks and place.life is not None and place.life.in_service:
                self._checks[place] = self._pool.act(self._check(place, place.life), f"health check of worker {place}")

    async def _check(self, place: Place, life: Life) -> None:
        asked = True
        try:
            asked = life.backend is not None and await check(self._pool.proxy, life.backend, self._settings.health_path)
            if asked:
                self._failures.pop(life, None)
        except Hung as error:
            place.log.warning("%s; it is killed and replaced", error)
            life.kill("it did not answer its health check")
        except Unhealthy as error:
            failures = self._failures[life] = self._failures.get(life, 0) + 1
            place.log.warning("unwell, %d of %d: %s", failures, FAILURES_LIMIT, error)
        except asyncio.CancelledError:
            pass  # the service ends
        finally:
            self._checks.pop(place, None)
            if asked:  # or else it was busy, or is gone: again with the next tick
                # From its end: a check that takes longer than the interval must not hold the worker all the time.
                self._asked[place] = monotonic()

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
        elif idle > self._settings.scale_down_after and pool.count > pool.least and not pool.places[-1].held:
            self._idle_since = now  # the next one after as long again
            pool.scale(pool.count - 1, f"{format_duration(idle)} in which not all workers were needed")


def _resident(life: Life) -> int:
    """Bytes of memory of its process; 0 if that cannot be told."""
    import psutil

    with contextlib.suppress(psutil.Error):
        if life.process is not None and not life.process.exited.done():
            size: int = psutil.Process(life.process.pid).memory_info().rss
            return size
    return 0
