"""The locks and the queue: who may use which worker, and who waits.

Tickets (requests) go in, leases come out. A lease is a lock: one ticket holds one worker, as a database
transaction holds a row, until it is released or the worker is removed. Tickets that find no free worker wait
in one queue, first come first served. Of free workers the one that has been free longest is taken.

The module knows nothing of sockets, processes or time (callers pass the clock's reading in as `now`). Each operation is
synchronous, O(1), and leaves the state consistent; what has to be done about its outcome is returned, for the
caller to do. So every interleaving can be tested without a loop, and `repr()` tells the whole state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket", bound=Hashable)
Worker = TypeVar("Worker", bound=Hashable)


class Lease(Generic[Ticket, Worker]):
    """The lock of `worker`. It is given back with this object, so nobody can give back what another holds by now."""

    __slots__ = ("holder", "since", "worker")

    def __init__(self, holder: Ticket, worker: Worker, since: float) -> None:
        self.holder = holder
        """Whose it is. May be changed: the lock is handed on, then, without being free in between."""
        self.worker = worker
        self.since = since
        """When it was taken."""

    def __repr__(self) -> str:
        return f"<lease of {self.worker} by {self.holder}>"


class QueueFull(Exception):
    """As many tickets wait as may wait."""


class LockError(Exception):
    """A lock was released that is not held any more. Always a bug of the caller's."""


class Dispatcher(Generic[Ticket, Worker]):
    """Locks on workers and the queue for them.

    `queue_limit` is the most tickets that may wait; `queue_timeout` the longest one may, in seconds of the
    caller's clock, None for ever. Tickets and workers are told apart by identity or equality; a worker that is
    restarted must come back as another object, so that nobody releases its predecessor's lock on it.
    """

    def __init__(self, queue_limit: int, queue_timeout: float | None = None) -> None:
        self.queue_limit = queue_limit
        self.queue_timeout = queue_timeout
        self._free: OrderedDict[Worker, None] = OrderedDict()  # free longest first
        self._leases: dict[Worker, Lease[Ticket, Worker]] = {}  # locked workers
        self._held: set[Worker] = set()  # get no new tickets, whether locked or not
        self._workers: set[Worker] = set()
        self._queue: OrderedDict[Ticket, float] = OrderedDict()  # since when each waits, oldest first

    # -- tickets -----------------------------------------------------------------------------------------------

    def acquire(self, ticket: Ticket, now: float) -> Lease[Ticket, Worker] | None:
        """A lease for `ticket`, of the worker that has been free for the longest time. None: it waits, and gets one
        later, from whatever makes a worker free. One that has waited elsewhere before may have a `now` that is past; it
        goes behind all others all the same.

        Raises QueueFull, with nothing changed.
        """
        if self._free:
            worker, _ = self._free.popitem(last=False)
            lease = self._leases[worker] = Lease(ticket, worker, now)
            return lease
        if len(self._queue) >= self.queue_limit:
            raise QueueFull
        append(self._queue, ticket, now)
        return None

    def reacquire(self, ticket: Ticket, since: float, now: float) -> Lease[Ticket, Worker] | None:
        """As acquire, for a ticket that has waited its turn, and whose worker then failed it.

        It goes to the head of the queue, and past its limit: it has been here longer than any that wait. It counts as
        waiting `since` then; or since its next behind it does, if that is longer, so that the queue stays in the order
        of expiry.
        """
        if self._free:
            return self.acquire(ticket, now)
        self._queue[ticket] = min(since, next(iter(self._queue.values()), since))
        self._queue.move_to_end(ticket, last=False)
        return None

    def release(self, lease: Lease[Ticket, Worker], now: float) -> Lease[Ticket, Worker] | None:
        """Give the lock back. Returns the lease that follows from it, if a ticket waits and the worker may serve.

        Raises LockError if it is not held any more.
        """
        if self._leases.get(lease.worker) is not lease:
            raise LockError(f"{lease!r} is not held")
        del self._leases[lease.worker]
        return self._offer(lease.worker, now)

    def take(self, worker: Worker, ticket: Ticket, now: float) -> Lease[Ticket, Worker] | None:
        """Lock that worker for `ticket`, if it is free: out of turn, but nobody waits while a worker is free."""
        if worker not in self._free:
            return None
        del self._free[worker]
        lease = self._leases[worker] = Lease(ticket, worker, now)
        return lease

    def cancel(self, ticket: Ticket) -> bool:
        """Take `ticket` out of the queue. False if it was not waiting."""
        return self._queue.pop(ticket, None) is not None

    def expire(self, now: float) -> list[Ticket]:
        """Take those out of the queue that have waited for the queue timeout, oldest first."""
        return [] if self.queue_timeout is None else self.expire_since(now - self.queue_timeout)

    def expire_since(self, moment: float) -> list[Ticket]:
        """Take those out of the queue that have waited since `moment`, or for longer, oldest first."""
        expired: list[Ticket] = []
        while self._queue and next(iter(self._queue.values())) <= moment:
            expired.append(self._queue.popitem(last=False)[0])
        return expired

    def next_expiry(self) -> float | None:
        """When the next waiting ticket will have waited too long; None if none ever will."""
        if self.queue_timeout is None or not self._queue:
            return None
        return next(iter(self._queue.values())) + self.queue_timeout

    def reorder(self, since: Callable[[Ticket], float]) -> None:
        """Put the queue in the order of `since`: the moment from which each ticket counts as waiting."""
        reorder(self._queue, since)

    def clear(self) -> list[Ticket]:
        """Empty the queue; whoever waited, oldest first."""
        waiting = list(self._queue)
        self._queue.clear()
        return waiting

    # -- workers -----------------------------------------------------------------------------------------------

    def add(self, worker: Worker, now: float, held: bool = False) -> Lease[Ticket, Worker] | None:
        """Put a new worker to use, or keep it for a `resume`, if `held`. Returns the lease that follows.

        Raises ValueError if it is here already.
        """
        if worker in self._workers:
            raise ValueError(f"{worker!r} is here already")
        self._workers.add(worker)
        if held:
            self._held.add(worker)
        return self._offer(worker, now)

    def remove(self, worker: Worker) -> Lease[Ticket, Worker] | None:
        """Forget `worker`, which is gone; its lock with it. Returns the lease that was on it. Idempotent."""
        self._workers.discard(worker)
        self._held.discard(worker)
        self._free.pop(worker, None)
        return self._leases.pop(worker, None)

    def after_removal(self, now: float) -> Lease[Ticket, Worker] | None:
        """The lease that follows from a `remove`, whose lease has been dealt with. None here; see `limits`."""
        return None

    def hold(self, worker: Worker) -> None:
        """Give `worker` no new tickets. One that holds its lock keeps it. Idempotent; unknown ones are ignored."""
        if worker in self._workers:
            self._held.add(worker)
            self._free.pop(worker, None)

    def resume(self, worker: Worker, now: float) -> Lease[Ticket, Worker] | None:
        """Undo hold. Returns the lease that follows. Idempotent."""
        if worker not in self._held:
            return None
        self._held.remove(worker)
        return None if worker in self._leases else self._offer(worker, now)

    def _offer(self, worker: Worker, now: float) -> Lease[Ticket, Worker] | None:
        """`worker` is not locked: lock it for whoever waits longest, else let it be free."""
        if worker in self._held:
            return None
        if not self._queue:
            self._free[worker] = None
            return None
        ticket, _ = self._queue.popitem(last=False)
        lease = self._leases[worker] = Lease(ticket, worker, now)
        return lease

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Tickets in the queue."""
        return len(self._queue)

    @property
    def free(self) -> int:
        """Workers that would get the next ticket."""
        return len(self._free)

    @property
    def oldest(self) -> float | None:
        """Since when the ticket has been waiting that has waited longest; None: the queue is empty."""
        return next(iter(self._queue.values()), None)

    @property
    def runnable(self) -> int:
        """Tickets in the queue that only lack a worker: all of them, without limits."""
        return self.waiting

    @property
    def runnable_since(self) -> float | None:
        """As `oldest`, of those that only lack a worker."""
        return self.oldest

    @property
    def locked(self) -> int:
        """Workers whose lock is held."""
        return len(self._leases)

    @property
    def size(self) -> int:
        """Workers known, whatever their state."""
        return len(self._workers)

    def lease(self, worker: Worker) -> Lease[Ticket, Worker] | None:
        """The lease on `worker`."""
        return self._leases.get(worker)

    def leases(self) -> list[Lease[Ticket, Worker]]:
        """All that are held."""
        return list(self._leases.values())

    def queue(self) -> Iterator[tuple[Ticket, float]]:
        """The waiting tickets and since when, the next one first."""
        return iter(self._queue.items())

    def patience(self, ticket: Ticket) -> float | None:
        """Return how long `ticket` may wait, in seconds; None: for ever."""
        return self.queue_timeout

    def limited_by(self, ticket: Ticket) -> str:
        """Return the name of the limit by which `ticket` waits even if a worker is free; empty if there is none."""
        return ""

    def __repr__(self) -> str:
        free = " ".join(str(worker) for worker in self._free)
        locked = " ".join(f"{lease.worker}:{lease.holder}" for lease in self._leases.values())
        held = " ".join(sorted(str(worker) for worker in self._held))
        queue = " ".join(str(ticket) for ticket, _ in self.queue())
        return f"<Dispatcher free[{free}] locked[{locked}] held[{held}] queue[{queue}]>"


def append(queue: OrderedDict[Ticket, float], ticket: Ticket, since: float) -> None:
    """Put `ticket` at the end of a queue. It counts as waiting since its predecessor at the earliest, so that a queue
    stays in the order of expiry."""
    queue[ticket] = max(since, next(reversed(queue.values()), since))


def reorder(queue: OrderedDict[Ticket, float], since: Callable[[Ticket], float]) -> None:
    """Sort a queue by `since`, from when on each ticket waits."""
    tickets = sorted(queue, key=since)
    queue.clear()
    queue.update((ticket, since(ticket)) for ticket in tickets)
