"""The locks and the queue with a clock: grants locks, enforces queue timeouts, and keeps the locks of busy workers.

Requests are submitted here, and leases are delivered to their holders. Nothing in this file knows HTTP, clients or
connections: it deals with `Holder` objects, which may hold a lock.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from time import monotonic, time
from typing import NamedTuple

from faucet.net.descriptors import Descriptors
from faucet.pauses import EARLIEST, Pauses
from faucet.proxy.deadlines import Timeouts
from faucet.proxy.holders import Holder, PoolLease, Upstream
from faucet.proxy.limit_classes import LimitClasses, why_expired, why_full
from faucet.proxy.limits import RequestClass
from faucet.proxy.locks import Dispatcher, QueueFull
from faucet.proxy.record import Account
from faucet.proxy.stats import Record, Stats
from faucet.settings import ProxySettings

_log = logging.getLogger("faucet")

SHUTTING_DOWN = "The service is shutting down."

CANCELLED = "An operator of the service has ended this request while it was queued."

NO_DESCRIPTORS = "Faucet has no file descriptors to spare; its log says what to do."
"""The detail of a 503 response when a file descriptor is missing to serve the request."""

LEAST_GRACE = 1.0
"""The least seconds for which a worker stays locked that may still be at work on an abandoned request."""

RECENT_SECONDS = 60.0
"""Seconds for which a service time is used to estimate later ones."""


class CutOff(Holder):
    """Holds the lock of a worker that may still be at work on a request for which no client waits any more."""

    __slots__ = ("_pool", "_timer")

    def __init__(self, pool: Pool, lease: PoolLease, seconds: float) -> None:
        super().__init__()
        self._pool = pool
        was = lease.holder.account
        self.account = Account(f"{was.client} (cut off)", was.method, was.target)
        self.account.ready()
        self.granted(lease)
        lease.holder = self
        self._timer = pool.pauses.after(seconds, self.give_up_waiting)

    def give_up_waiting(self) -> None:
        """Release the lock: the time is over, or the service is shutting down."""
        self._timer.cancel()
        lease, self.lease = self.lease, None
        if lease is not None:
            self._pool.release(lease)

    def lock_gone(self) -> None:
        """The worker is gone."""
        super().lock_gone()
        self._timer.cancel()


class Interruption(NamedTuple):
    """A time in which no worker can be reached. `why` returns the reason, for clients."""

    began: float
    patience: float
    """The most seconds for which a request waits for the end of the interruption."""
    why: Callable[[], str]


def _nothing() -> None:
    pass


def _whole_seconds(expected: float) -> int:
    return max(1, math.ceil(expected))


def _timed_out(holder: Holder) -> None:
    holder.timed_out()


def _hand_over(lease: PoolLease) -> None:
    try:
        lease.holder.granted(lease)
    except Exception:
        _log.exception("a request could not be handed to worker %s", lease.worker.name)
        lease.holder.internal_error()


class Pool:
    """The locks of any number of workers, the queue for them, and the statistics.

    All methods must be called from the loop's thread. `record` is called with a Record for each request that has ended.
    """

    def __init__(self, settings: ProxySettings, record: Callable[[Record], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.retries = settings.retry != "none"
        """Whether a request may be sent again at all."""
        self.descriptors = Descriptors()
        self.limits: LimitClasses[Holder] = LimitClasses(settings, attrgetter("request_class"))
        self.dispatcher: Dispatcher[Holder, Upstream] = self.limits.dispatcher()
        self.pauses = Pauses(self.loop)
        self.requests: Timeouts[Holder] = self.limits.timeouts(self.loop, _timed_out, self.pauses.since)
        """The request timeouts of the holders that have a lock."""
        self.draining = False
        """Whether the service is shutting down."""
        self.refusing = False
        """Whether new requests are refused."""
        self.given_up = False
        """Whether locks are released although their workers may be at work, since the service is stopping."""
        self.outage = ""
        """Why there will be no worker for a while; requests are refused with this text. Empty if there is no outage."""
        self.asleep = False
        """Whether no worker runs, because none was needed, or the first one is being started."""
        self.on_wake: Callable[[], None] = _nothing
        """Called for each request that is queued, or refused by a full queue, while `asleep`."""
        self.on_idle: Callable[[], None] = _nothing
        """Called when a lock has become free while draining."""
        self._stats = Stats()
        self._record = record
        self._delivering = False
        self._granted: deque[PoolLease] = deque()  # leases that follow from the one that is being delivered
        self._expiry: asyncio.TimerHandle | None = None
        self._awaited: dict[Upstream, asyncio.Future[None]] = {}
        self._interruption: Interruption | None = None

    @property
    def stats(self) -> Stats:
        """The statistics, up to date."""
        self._stats.settle()
        return self._stats

    def record(self, record: Record) -> None:
        """Count and report a request that has ended."""
        self._stats.add(record)
        self._record(record)

    # -- workers -----------------------------------------------------------------------------------------------

    def add(self, worker: Upstream, held: bool = False) -> None:
        """Add a worker. If `held`, it gets no requests before `resume`."""
        self._pass_on(self.dispatcher.add(worker, monotonic(), held))

    def remove(self, worker: Upstream) -> Account | None:
        """Remove a worker that is gone. The rest of its response is still read from its connection.

        Return the account of the request that the worker was processing, if any.
        """
        worker.gone = True
        lease = self.dispatcher.remove(worker)
        holder = None if lease is None else lease.holder
        at_work = holder is not None and holder.at_work
        if holder is not None:
            holder.lock_gone()
        self._lock_is_free(worker)
        self._pass_on(self.dispatcher.after_removal(monotonic()))
        return holder.account if holder is not None and at_work else None

    async def retire(self, worker: Upstream) -> None:
        """Give a worker no new requests, wait until its request in progress has ended, and remove the worker."""
        self.dispatcher.hold(worker)
        await self.unlocked(worker)
        self.remove(worker)

    async def unlocked(self, worker: Upstream) -> None:
        """Wait until the lock of `worker` is free. Unless `worker` is on hold, another request may lock it at once."""
        if self.dispatcher.lease(worker) is not None:
            if worker not in self._awaited:
                self._awaited[worker] = self.loop.create_future()
            await asyncio.shield(self._awaited[worker])

    def _lock_is_free(self, worker: Upstream) -> None:
        """Wake the callers of `unlocked`, and report the free lock while draining."""
        if self._awaited:
            waiting = self._awaited.pop(worker, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if self.draining:
            self.on_idle()

    def hold(self, worker: Upstream) -> None:
        """Give a worker no new requests; its request in progress goes on."""
        self.dispatcher.hold(worker)

    def resume(self, worker: Upstream) -> None:
        """Undo hold."""
        self._pass_on(self.dispatcher.resume(worker, monotonic()))

    def unreachable(self, worker: Upstream, error: Exception) -> None:
        """Hold a `worker` that accepts no connection, and report that to its fleet."""
        if not worker.gone:
            self.dispatcher.hold(worker)
            worker.on_unreachable(error)

    # -- requests ----------------------------------------------------------------------------------------------

    def submit(self, holder: Holder) -> None:
        """Lock a worker for a request that is ready to be sent, or queue or refuse the request."""
        if self.limits.any:
            holder.request_class = self.limits.of(holder.account.method, holder.account.target)
        if self._refused_for_all(holder):
            return
        try:
            lease = self.dispatcher.acquire(holder, holder.account.ready_at, holder.account.waiting_since)
        except QueueFull:
            self._wake()
            self._refuse_one_too_many(holder)
            return
        if lease is not None:
            self._deliver(lease)
        else:
            self._let_wait(holder)

    def resubmit(self, holder: Holder) -> None:
        """Submit a request again whose worker has failed: it goes to the head of the queue."""
        if self.refusing:
            self.refuse(holder, "shutdown", SHUTTING_DOWN)
            return
        if self._refused_for_all(holder):
            return
        lease = self.dispatcher.reacquire(holder, holder.account.waiting_since, monotonic())
        if lease is not None:
            self._deliver(lease)
        else:
            holder.has_to_wait()
            self.rearm_expiry()  # it may expire before all other queued requests

    def _refused_for_all(self, holder: Holder) -> bool:
        """Refuse a new or resubmitted request during an outage, since it would wait in vain. False: no outage."""
        if self.outage:
            self.refuse(holder, "no_worker", self.outage)
        return bool(self.outage)

    def refuse(self, holder: Holder, reason: str, detail: str) -> None:
        """Answer 503 with `detail`, and count it under `reason`."""
        self.stats.count_refusal(reason)
        holder.refuse(503, detail, self.retry_after())

    def _wake(self) -> None:
        if self.asleep:
            self.on_wake()

    def _refuse_one_too_many(self, holder: Holder) -> None:
        kind = self._class_of(holder)
        self._refuse_queued(holder, "limit_full" if kind.name else "queue_full", why_full(kind))

    def _refuse_too_late(self, holder: Holder) -> None:
        self._refuse_queued(holder, "queue_timeout", why_expired(self._class_of(holder)))

    def _class_of(self, holder: Holder) -> RequestClass[Holder]:
        return holder.request_class if self.limits.any else self.limits.others

    def _refuse_queued(self, holder: Holder, reason: str, detail: str) -> None:
        if not self.limits.any:
            self.refuse(holder, reason, detail)
            return
        holder.request_class.refused += 1
        self.stats.count_refusal(reason)
        holder.refuse(503, detail, _whole_seconds(holder.request_class.expected_wait(self.dispatcher.size)))

    def cancel(self, holder: Holder) -> None:
        """Refuse a queued request, because an operator has cancelled it."""
        if self.dispatcher.cancel(holder):
            self.refuse(holder, "cancelled", CANCELLED)

    def retry_after(self) -> int:
        """Return the whole seconds until a client may expect to be served (RFC 9110, 10.2.3), at least 1."""
        stats = self.stats
        held = 0.0 if stats.mean_service else self._mean_age()  # thousands may ask in a second
        return _whole_seconds(stats.expected_wait(self.dispatcher.waiting, self.dispatcher.size, held))

    def _mean_age(self) -> float:
        """Return for how many seconds the current locks have been held, on average."""
        now, leases = monotonic(), self.dispatcher.leases()
        return sum(now - lease.since for lease in leases) / max(len(leases), 1)

    def take(self, worker: Upstream, holder: Holder) -> bool:
        """Lock `worker` for `holder` if it is free, and return whether it was. Release it with `release`."""
        lease = self.dispatcher.take(worker, holder, monotonic())
        if lease is not None:
            holder.granted(lease)
        return lease is not None

    def fail(self, reason: str) -> None:
        """Begin an outage: there will be no worker for a while. Refuse all queued requests."""
        self.outage = reason
        for holder in self.dispatcher.clear():
            self.refuse(holder, "no_worker", reason)

    # -- locks -------------------------------------------------------------------------------------------------

    def release(self, lease: PoolLease, counted: bool = False) -> None:
        """Release the lock. If `counted`, the time for which it was held is added to the statistics."""
        now = monotonic()
        if counted:
            self._stats.hold(now - lease.since)
        following = self.dispatcher.release(lease, now)
        if following is not None:
            self._deliver(following)
        if self._awaited or self.draining:
            self._lock_is_free(lease.worker)

    def keep_locked(self, lease: PoolLease, at_most: float) -> None:
        """Keep a worker locked whose connection is lost, because it may be at work on the request for a while.

        The time is an estimate: twice the longest recent service time, less the time since the lock was granted. The
        limit is the lock grace or, for a supervised worker, LEAST_GRACE, since its process is watched, and most workers
        that close a connection are done with the request. `at_most` is another limit, in seconds.
        """
        if self.refusing:
            self.release(lease)  # no other request will get it
            return
        most = lease.worker.lock_grace or LEAST_GRACE
        recent = time() - RECENT_SECONDS
        took = [span for served in self.stats.workers.values() for when, span in served.recent if when > recent]
        guess = max(2 * max(took) - (monotonic() - lease.since), LEAST_GRACE) if took else most
        CutOff(self, lease, min(guess, most, at_most))

    def _let_wait(self, holder: Holder) -> None:
        self._wake()
        holder.has_to_wait()
        if self._expiry is None:
            self._arm_expiry()
        elif self.limits.any and len(holder.request_class.queue) == 1:
            self.rearm_expiry()  # its class may have a shorter queue timeout

    def _pass_on(self, lease: PoolLease | None) -> None:
        if lease is not None:
            self._deliver(lease)

    def _deliver(self, lease: PoolLease) -> None:
        """Deliver a lease to its holder. A lease that follows from it is delivered after it, not inside it: a thousand
        clients that have left the queue unnoticed must not become a thousand nested calls."""
        granted = self._granted
        if self._delivering:
            granted.append(lease)
            return
        self._delivering = True
        try:
            _hand_over(lease)
            while granted:
                _hand_over(granted.popleft())
        finally:
            self._delivering = False

    # -- waiting too long --------------------------------------------------------------------------------------

    def interrupt(self, patience: float, why: Callable[[], str]) -> None:
        """No worker can be reached for now: refuse requests that have waited for `patience` seconds meanwhile."""
        began = self._interruption.began if self._interruption is not None else monotonic()
        self._interruption = Interruption(began, patience, why)
        self.rearm_expiry()

    def resume_after_interruption(self) -> None:
        """End the interruption: workers can be reached again."""
        self._interruption = None
        self.rearm_expiry()

    def reorder(self) -> None:
        """Sort the queue by arrival of the requests: some of them may have been resubmitted one by one."""
        self.dispatcher.reorder(lambda holder: holder.account.waiting_since)
        self.rearm_expiry()

    def enforce_limits(self, enforced: bool) -> None:
        """Apply `--limit` to the locks here from now on, or leave that to the Faucet to which the requests go."""
        for lease in self.dispatcher.enforce(enforced, monotonic()):
            self._deliver(lease)

    def rearm_expiry(self) -> None:
        """Set the timer again for the next queued request that has to be answered."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._arm_expiry()

    def _next_expiry(self) -> float | None:
        """Return the moment when the next queued request has to be answered, for any reason; None if never."""
        expiry, oldest = self.dispatcher.next_expiry(), self.dispatcher.oldest
        if self._interruption is None or oldest is None:
            return expiry
        due = max(oldest, self._interruption.began) + self._interruption.patience
        return due if expiry is None else min(due, expiry)

    def _arm_expiry(self) -> None:
        expiry = self._next_expiry()
        if expiry is not None:
            delay = expiry + self._paused_lately() - monotonic()
            self._expiry = self.loop.call_later(max(delay, EARLIEST), self._expire_waiting)

    def _paused_lately(self) -> float:
        """Return the recent paused seconds, which do not count as waiting. They also extend later requests' time."""
        longest = max(self.dispatcher.queue_timeout or 0.0, self._interruption.patience if self._interruption else 0.0)
        return self.pauses.since(monotonic() - longest)

    def _expire_waiting(self) -> None:
        self._expiry = None
        interruption, now = self._interruption, monotonic() - self._paused_lately()
        if interruption is not None and now >= interruption.began + interruption.patience:
            for holder in self.dispatcher.expire_since(now - interruption.patience):
                self.refuse(holder, "link_down", interruption.why())
        for holder in self.dispatcher.expire(now):
            self._refuse_too_late(holder)
        self._arm_expiry()

    # -- the end -----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Begin the shutdown. Requests are accepted until `refuse_all`."""
        self.draining = True

    def refuse_all(self) -> None:
        """Refuse new and queued requests, and release the locks of workers for whose response no client waits."""
        self.refusing = self.given_up = True
        for holder in self.dispatcher.clear():
            self.refuse(holder, "shutdown", SHUTTING_DOWN)
        self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        for lease in self.dispatcher.leases():
            lease.holder.give_up_waiting()

    def close(self) -> None:
        """Cancel all timers."""
        self.given_up = True
        self.descriptors.close()
        self.pauses.close()
        self.requests.close()
        self._give_up_waiting()
        if self._expiry is not None:
            self._expiry.cancel()
