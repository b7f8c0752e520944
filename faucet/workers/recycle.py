"""Replace workers before they fail: those that are too old, too large, or unhealthy.

There is never more than one such replacement at a time, and none while more requests are queued than there are
workers. The decisions are pure functions of what is known of a worker: `judge_size` and `why_replace`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from weakref import WeakKeyDictionary, WeakSet

from faucet.settings import WorkerSettings
from faucet.units import counted, format_duration, format_size
from faucet.workers.causes import Cause, Reason
from faucet.workers.instance import Instance
from faucet.workers.pool import Pool
from faucet.workers.slot import Slot

RSS_SETTLES = 3.0
"""Seconds after its start from which the size of a worker counts: a limit that is too small must not eat all time."""

FEW_REQUESTS = 3
"""Requests after which a worker is as large as it is from the start: many APIs load what they need with the first."""

TOO_LARGE_IN_A_ROW = 2
"""Replacements in a row that may be too large from the start; after them, another one would be, too."""

RSS_IS_HOPELESS = """\
--max-rss %s is less than a fresh worker needs: this one has %s, %s after its start, %s. Workers are not replaced for \
their size any more. Raise --max-rss, or make the API smaller and begin a rolling restart: then sizes count again."""

OWN_EVERY = 5.0
"""Seconds between two measurements of what is a worker's own."""

PAUSE_AFTER_FAILURE = 60.0
"""Seconds after a replacement that did not become ready in which no other is tried."""


class Size(Enum):
    """How the memory of a worker compares with --max-rss."""

    UNKNOWN = "unknown"
    """The size is not measured, or not yet."""
    FITS = "fits"
    GROWN = "grown"
    """Too large, and it was within the limit before: that is what the limit is for."""
    TOO_LARGE = "too large"
    """Too large from the start, as far as is known; the next one may be smaller."""
    HOPELESS = "hopeless"
    """Too large from the start, and so is every other one."""


def judge_size(rss: int, limit: int, served: int, fitted: bool, too_large: int) -> Size:
    """Compare `rss` bytes (0: unknown) of a worker that has begun `served` requests with the `limit`.

    `fitted`: it was seen within the limit before. `too_large` replacements in a row, this worker included, were too
    large from the start.
    """
    if not rss:
        return Size.UNKNOWN
    if rss <= limit:
        return Size.FITS
    if fitted and served > FEW_REQUESTS:
        return Size.GROWN
    return Size.TOO_LARGE if served and too_large <= TOO_LARGE_IN_A_ROW else Size.HOPELESS


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a worker in service."""

    healthy: bool
    age: float
    """Seconds since it became ready."""
    served: int
    """Requests since then."""
    jitter: float
    """Share of the limits of age and requests at which this one is replaced."""
    rss: int
    size: Size


def why_replace(worker: Condition, limits: WorkerSettings) -> Cause | None:
    """Return why a worker is to be replaced; None if it is not."""
    if not worker.healthy:
        return Cause(Reason.UNHEALTHY, "replaced since it is unhealthy")
    age = format_duration(worker.age)
    if limits.max_age and worker.age > limits.max_age * worker.jitter:
        return Cause(Reason.MAX_AGE, f"replaced after {age} (--max-age)")
    if limits.max_requests and worker.served >= limits.max_requests * worker.jitter:
        return Cause(Reason.MAX_REQUESTS, f"replaced after {worker.served} requests (--max-requests)")
    if worker.size in (Size.GROWN, Size.TOO_LARGE):
        return Cause(Reason.MAX_RSS, f"replaced at {format_size(worker.rss)}, {age} after its start (--max-rss)")
    return None


class OwnMemory:
    """What workers that share memory (--preload) have of their own: bytes that would be free without them.

    The kernel looks at each page for that, some milliseconds for each 100 MB: it is asked in a thread, and not often.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Instance, int] = WeakKeyDictionary()
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to measure again."""
        return monotonic() >= self._next

    def of(self, instance: Instance) -> int:
        """Return the latest measurement; 0 if there is none."""
        return self._known.get(instance, 0)

    async def measure(self, instances: list[Instance]) -> None:
        """Measure the instances that are alive."""
        self._next = monotonic() + OWN_EVERY
        for instance in instances:
            if instance.process is not None and instance.alive:
                size = await asyncio.to_thread(_own, instance.process.pid)
                if instance.alive:
                    self._known[instance] = size


class Recycler:
    """Replaces the workers of one pool. Call `look` once a second: ages could be timers, sizes cannot."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._settings = pool.context.settings
        self._replacing = False
        self._not_before = 0.0
        self._last_recycled = 0  # number of a slot: the next ones have their turn first
        self._too_large = 0  # replacements in a row that were too large from the start
        self._judged: WeakSet[Instance] = WeakSet()  # are counted in that, if they were too large
        self._fitted: WeakSet[Instance] = WeakSet()  # were seen within the limit
        self._hopeless = False
        self._own = OwnMemory() if self._settings.preload else None

    def code_changed(self) -> None:
        """Look at sizes again: workers may be smaller from now on."""
        self._too_large = 0
        self._hopeless = False

    def look(self) -> None:
        """Begin to replace the next worker that is due, unless replacements must wait."""
        self._measure_own()
        pool, dispatcher = self._pool, self._pool.context.proxy.pool.dispatcher
        busy = self._replacing or pool.is_rolling or any(slot.being_replaced for slot in pool.slots)
        if busy or monotonic() < self._not_before or dispatcher.runnable > dispatcher.size:
            return
        for slot in sorted(pool.slots, key=lambda slot: (slot.number <= self._last_recycled, slot.number)):
            cause = self.why_replace(slot)
            if cause is not None:
                self._replacing = True
                self._last_recycled = slot.number
                pool.act(self._replace(slot, cause), f"recycling of worker {slot}")
                return

    def why_replace(self, slot: Slot) -> Cause | None:
        """Return why the worker in `slot` is to be replaced; None if it is not, or there is none in service."""
        instance = slot.instance
        if instance is None or not instance.in_service or slot.held:
            return None
        return why_replace(self._condition(slot, instance), self._settings)

    def _condition(self, slot: Slot, instance: Instance) -> Condition:
        age = monotonic() - instance.ready_at
        served = self._pool.context.served(slot.number) - instance.served_before
        measured = self._settings.max_rss and age > RSS_SETTLES and not self._hopeless
        rss = self._memory(instance) if measured else 0
        size = self._judge_size(slot, instance, rss, served)
        return Condition(instance.healthy, age, served, instance.jitter, rss, size)

    def _measure_own(self) -> None:
        if self._own is not None and self._settings.max_rss and self._own.due:
            instances = [slot.instance for slot in self._pool.slots if slot.instance is not None]
            self._pool.act(self._own.measure(instances), "measurement of memory")

    def _memory(self, instance: Instance) -> int:
        """Return the bytes of memory that count; 0 if that is not known."""
        rss = _resident(instance)
        if self._own is None or rss <= self._settings.max_rss:
            return rss  # what is its own is no more than that
        return self._own.of(instance)

    def _judge_size(self, slot: Slot, instance: Instance, rss: int, served: int) -> Size:
        """Judge the size of a worker, and record it for the workers that follow."""
        served += instance.lease is not None  # it may have grown with the request in progress
        too_large = self._too_large + (instance not in self._judged)
        size = judge_size(rss, self._settings.max_rss, served, instance in self._fitted, too_large)
        if size is Size.FITS:
            self._fitted.add(instance)
        elif size is Size.GROWN:
            self._too_large = 0
        elif size is not Size.UNKNOWN:
            self._judged.add(instance)
            self._too_large = too_large
        if size is Size.HOPELESS:
            self._hopeless = True
            work = f"after {counted(served, 'request')}" if served else "before its first request"
            slot.log.warning(RSS_IS_HOPELESS, format_size(self._settings.max_rss), format_size(rss),
                              format_duration(monotonic() - instance.began), work)  # fmt: skip
        return size

    async def _replace(self, slot: Slot, cause: Cause) -> None:
        slot.log.info("%s", cause.text)
        try:
            if not await self._pool.replace(slot, cause):
                self._not_before = monotonic() + PAUSE_AFTER_FAILURE
        finally:
            self._replacing = False


def _resident(instance: Instance) -> int:
    """Return the bytes of memory of its process; 0 if that cannot be determined."""
    import psutil

    with contextlib.suppress(psutil.Error):
        if instance.process is not None and instance.alive:
            size: int = psutil.Process(instance.process.pid).memory_info().rss
            return size
    return 0


def _own(pid: int) -> int:
    """Return the bytes of memory that are this process's alone; 0 if that cannot be determined."""
    import psutil

    with contextlib.suppress(psutil.Error):
        size: int = psutil.Process(pid).memory_full_info().uss
        return size
    return 0
