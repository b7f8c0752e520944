"""The locks with a clock: who gets a worker when, who waits too long, and who keeps a lock that nobody asks for.

Here a request meets the queue and a lock meets its next holder. Nothing in this file knows HTTP, a client or a
connection: a `Holder` is whatever may hold a lock.
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
"""What a client is told whom we cannot serve for want of one."""

LEAST_GRACE = 1.0
"""Seconds that a worker stays locked at least which may still be at work on what nobody waits for here."""

RECENT_SECONDS = 60.0
"""How long ago a service time tells what to expect."""


class CutOff(Holder):
    """Holds the lock of a worker that may still be at work on a request which nobody here waits for any more."""

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
        """Its time is over."""
        self._timer.cancel()
        lease, self.lease = self.lease, None
        if lease is not None:
            self._pool.release(lease)

    def lock_gone(self) -> None:
        """The worker is gone."""
        super().lock_gone()
        self._timer.cancel()


class Interruption(NamedTuple):
    """There is no way to any worker for now."""

    began: float
    patience: float
    """Seconds that anybody waits for its end."""
    why: Callable[[], str]


def _nothing() -> None:
    pass


def _whole_seconds(expected: float) -> int:
    return max(1, math.ceil(expected))


def _timed_out(holder: Holder) -> None:
    holder.timed_out()


class Pool:
    """The locks of any number of workers, the queue for them, and what has become of whoever was there.

    All methods must be called from the loop's thread. `record` is called with a Record for each request that has ended.
    """

    def __init__(self, settings: ProxySettings, record: Callable[[Record], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.descriptors = Descriptors()
        self.limits: LimitClasses[Holder] = LimitClasses(settings, attrgetter("request_class"))
        self.dispatcher: Dispatcher[Holder, Upstream] = self.limits.dispatcher()
        self.pauses = Pauses(self.loop)
        self.requests: Timeouts[Holder] = self.limits.timeouts(self.loop, _timed_out, self.pauses.since)
        """Those that hold a lock."""
        self.draining = False
        """The service ends."""
        self.refusing = False
        """No request is taken any more."""
        self.given_up = False
        """Locks are released though their workers may be at work: the service ends."""
        self.outage = ""
        """Why there are no workers and will not be for a while; requests are refused with it meanwhile."""
        self.asleep = False
        """No worker runs, since nobody needed one, or the first is being started."""
        self.on_wake: Callable[[], None] = _nothing
        """Called with each request that would wait while `asleep`, or would wait if it could."""
        self.on_idle: Callable[[], None] = _nothing
        """Called while draining, when a lock has become free."""
        self._stats = Stats()
        self._record = record
        self._granted: deque[PoolLease] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._awaited: dict[Upstream, asyncio.Future[None]] = {}
        self._interruption: Interruption | None = None

    @property
    def stats(self) -> Stats:
        """The numbers, up to date."""
        self._stats.settle()
        return self._stats

    def record(self, record: Record) -> None:
        """A request has ended."""
        self._stats.add(record)
        self._record(record)

    # -- workers -----------------------------------------------------------------------------------------------

    def add(self, worker: Upstream, held: bool = False) -> None:
        """Put a worker to use; if `held`, not before it is resumed."""
        self._pass_on(self.dispatcher.add(worker, monotonic(), held))

    def remove(self, worker: Upstream) -> Account | None:
        """Forget a worker that is gone. What it still has to say on its connection is listened to.

        Returns the account of the request that it was at work on, if it was.
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
        """Give a worker no new requests, wait for the one in hand, and forget it."""
        self.dispatcher.hold(worker)
        await self.unlocked(worker)
        self.remove(worker)

    async def unlocked(self, worker: Upstream) -> None:
        """Wait until the lock of `worker` is free. If it is not held, another request may have it right after."""
        if self.dispatcher.lease(worker) is not None:
            if worker not in self._awaited:
                self._awaited[worker] = self.loop.create_future()
            await asyncio.shield(self._awaited[worker])

    def _lock_is_free(self, worker: Upstream) -> None:
        """Whoever waits for that is told."""
        if self._awaited:
            waiting = self._awaited.pop(worker, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        if self.draining:
            self.on_idle()

    def hold(self, worker: Upstream) -> None:
        """Give a worker no new requests; the one in hand goes on."""
        self.dispatcher.hold(worker)

    def resume(self, worker: Upstream) -> None:
        """Undo hold."""
        self._pass_on(self.dispatcher.resume(worker, monotonic()))

    def unreachable(self, worker: Upstream, error: Exception) -> None:
        """`worker` accepts no connection: hold it, and tell whoever looks after it."""
        if not worker.gone:
            self.dispatcher.hold(worker)
            worker.on_unreachable(error)

    # -- requests ----------------------------------------------------------------------------------------------

    def submit(self, holder: Holder) -> None:
        """A request is in hand: lock a worker for it, or let it wait, or refuse it."""
        if self.limits.any:
            holder.request_class = self.limits.of(holder.account.method, holder.account.target)
        if self._refused_for_all(holder):
            return
        try:
            lease = self.dispatcher.acquire(holder, holder.account.waiting_since)
        except QueueFull:
            self._wake()
            self._refuse_one_too_many(holder)
            return
        if lease is not None:
            self._deliver(lease)
        else:
            self._let_wait(holder)

    def resubmit(self, holder: Holder) -> None:
        """A request whose worker failed it before it was answered: it is next in the queue."""
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
            self.rearm_expiry()  # its time may be over before that of all others

    def _refused_for_all(self, holder: Holder) -> bool:
        """Refuse a request, new or sent back by its worker, while nobody could serve it: it would wait in vain."""
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
        """End the waiting of a request, because an operator asks for that."""
        if self.dispatcher.cancel(holder):
            self.refuse(holder, "cancelled", CANCELLED)

    def retry_after(self) -> int:
        """Whole seconds until a client may expect to be served (RFC 9110, 10.2.3), at least 1."""
        now, leases = monotonic(), self.dispatcher.leases()
        held = sum(now - lease.since for lease in leases) / max(len(leases), 1)
        return _whole_seconds(self.stats.expected_wait(self.dispatcher.waiting, self.dispatcher.size, held))

    def take(self, worker: Upstream, holder: Holder) -> bool:
        """Lock that worker, if it is idle; to be given back by `release`."""
        lease = self.dispatcher.take(worker, holder, monotonic())
        if lease is not None:
            holder.granted(lease)
        return lease is not None

    def fail(self, reason: str) -> None:
        """There is no worker, and will be none for a while: nobody is to wait in vain."""
        self.outage = reason
        for holder in self.dispatcher.clear():
            self.refuse(holder, "no_worker", reason)

    # -- locks -------------------------------------------------------------------------------------------------

    def release(self, lease: PoolLease, counted: bool = False) -> None:
        """The lock is free for the next. If `counted`, the time it was held counts for what a request takes."""
        now = monotonic()
        if counted:
            self._stats.hold(now - lease.since)
        following = self.dispatcher.release(lease, now)
        if following is not None:
            self._deliver(following)
        if self._awaited or self.draining:
            self._lock_is_free(lease.worker)

    def keep_locked(self, lease: PoolLease, at_most: float) -> None:
        """Whoever holds it has no connection to the worker any more, which may be at work on that for a while.

        How long is a guess, from what requests took lately: twice the longest. Not longer than the lock grace; for a
        worker of ours, LEAST_GRACE, since its process is watched, and most that close a connection are done with it.
        And not longer than `at_most` seconds.
        """
        if self.refusing:
            self.release(lease)  # nobody here will use it
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
            self.rearm_expiry()  # its class may have less patience than those that wait already

    def _pass_on(self, lease: PoolLease | None) -> None:
        if lease is not None:
            self._deliver(lease)

    def _deliver(self, lease: PoolLease) -> None:
        """Hand a lease over. One that leads to another is handed over after it, not inside it: a thousand clients
        that have left the queue unseen must not become a thousand nested calls."""
        granted = self._granted
        granted.append(lease)
        if len(granted) > 1:
            return
        while granted:
            lease = granted[0]
            try:
                lease.holder.granted(lease)
            except Exception:
                _log.exception("a request could not be handed to worker %s", lease.worker.name)
                lease.holder.internal_error()
            finally:
                granted.popleft()

    # -- waiting too long --------------------------------------------------------------------------------------

    def interrupt(self, patience: float, why: Callable[[], str]) -> None:
        """There is no way to any worker for now: nobody waits for its end longer than `patience` seconds."""
        began = self._interruption.began if self._interruption is not None else monotonic()
        self._interruption = Interruption(began, patience, why)
        self.rearm_expiry()

    def resume_after_interruption(self) -> None:
        """There is a way again."""
        self._interruption = None
        self.rearm_expiry()

    def reorder(self) -> None:
        """Put the queue in the order in which its requests came: some of them may have come back one by one."""
        self.dispatcher.reorder(lambda holder: holder.account.waiting_since)
        self.rearm_expiry()

    def rearm_expiry(self) -> None:
        """Look again when the next has to be answered."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._arm_expiry()

    def _next_expiry(self) -> float | None:
        """When the next waiting request has to be answered, whatever the answer is."""
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
        """Seconds that do not count for those in the queue: more than a few for those that came after the pause."""
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
        """The service ends; requests are taken until `refuse_all`."""
        self.draining = True

    def refuse_all(self) -> None:
        """Take no request any more; whoever waits is refused, and no lock is kept for nobody."""
        self.refusing = self.given_up = True
        for holder in self.dispatcher.clear():
            self.refuse(holder, "shutdown", SHUTTING_DOWN)
        self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        for lease in self.dispatcher.leases():
            lease.holder.give_up_waiting()

    def close(self) -> None:
        """Set no more timers."""
        self.given_up = True
        self.descriptors.close()
        self.pauses.close()
        self.requests.close()
        self._give_up_waiting()
        if self._expiry is not None:
            self._expiry.cancel()
