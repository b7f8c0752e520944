"""The locks of the workers, and the queue for them.

Tickets (requests) go in, leases come out. A lease is a lock: one ticket holds one worker, as a database transaction
holds a row, until the lease is released or the worker is removed. Tickets that find no free worker wait in one queue,
first come first served. Of the free workers, the one that has been free longest is locked.

The module knows nothing of sockets, processes or time: callers pass the clock's reading as `now`. Each operation is
synchronous and O(1), leaves the state consistent, and returns its outcome for the caller to act on. So every
interleaving can be tested without a loop, and `repr()` shows the whole state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket", bound=Hashable)
Worker = TypeVar("Worker", bound=Hashable)


class Lease(Generic[Ticket, Worker]):
    """The lock of `worker`. Releasing requires this object, so a former holder cannot release a later holder's lock."""

    __slots__ = ("holder", "since", "worker")

    def __init__(self, holder: Ticket, worker: Worker, since: float) -> None:
        self.holder = holder
        """The holder of the lock. Assigning another holder hands the lock over without a moment in which it is free."""
        self.worker = worker
        self.since = since
        """The moment when the lock was granted."""

    def __repr__(self) -> str:
        return f"<lease of {self.worker} by {self.holder}>"


class QueueFull(Exception):
    """The queue has reached its limit."""


class LockError(Exception):
    """A lock was released that is no longer held. Always a bug in the caller."""


class Dispatcher(Generic[Ticket, Worker]):
    """Locks of workers, and the queue for them.

    `queue_limit` is the most tickets that may be queued. `queue_timeout` is the longest time that a ticket may be
    queued, in seconds of the caller's clock; None: no limit. Tickets and workers are distinguished by equality. A
    restarted worker must be added as a new object, so that a lease of its predecessor cannot release its lock.
    """

    def __init__(self, queue_limit: int, queue_timeout: float | None = None) -> None:
        self.queue_limit = queue_limit
        self.queue_timeout = queue_timeout
        self._free: OrderedDict[Worker, None] = OrderedDict()  # free longest first
        self._leases: dict[Worker, Lease[Ticket, Worker]] = {}  # locked workers
        self._held: set[Worker] = set()  # workers that get no new tickets, whether locked or not
        self._workers: set[Worker] = set()
        self._queue: OrderedDict[Ticket, float] = OrderedDict()  # since when each waits, oldest first
        self._latest = 0.0  # no ticket of the queue waits since a later moment

    # -- tickets -----------------------------------------------------------------------------------------------

    def acquire(self, ticket: Ticket, now: float, since: float | None = None) -> Lease[Ticket, Worker] | None:
        """Lock the worker that has been free longest for `ticket`, or queue the ticket and return None.

        A queued ticket gets its lease from the operation that frees a worker. `since` is the earlier moment from which
        on a ticket counts as queued that has waited elsewhere before; it still goes to the end of the queue.

        Raises QueueFull, with nothing changed.
        """
        if self._free:
            worker, _ = self._free.popitem(last=False)
            lease = self._leases[worker] = Lease(ticket, worker, now)
            return lease
        if len(self._queue) >= self.queue_limit:
            raise QueueFull
        moment = now if since is None else since
        if moment < self._latest:
            append(self._queue, ticket, moment)
        else:
            self._queue[ticket] = self._latest = moment  # as append would, but it is dear to look at the last entry
        return None

    def reacquire(self, ticket: Ticket, since: float, now: float) -> Lease[Ticket, Worker] | None:
        """As acquire, for a ticket whose worker failed after the ticket had waited its turn.

        The ticket goes to the head of the queue, regardless of the queue limit, since it came before all queued
        tickets. It counts as queued since `since`, or since the ticket behind it was queued if that is earlier, so that
        the queue stays in the order of expiry.
        """
        if self._free:
            return self.acquire(ticket, now)
        since = min(since, next(iter(self._queue.values()), since))
        self._queue[ticket] = since
        self._queue.move_to_end(ticket, last=False)
        self._latest = max(self._latest, since)
        return None

    def release(self, lease: Lease[Ticket, Worker], now: float) -> Lease[Ticket, Worker] | None:
        """Release the lock. Return the lease that follows, if a ticket is queued and the worker is not held.

        Raises LockError if `lease` is no longer held.
        """
        if self._leases.get(lease.worker) is not lease:
            raise LockError(f"{lease!r} is not held")
        del self._leases[lease.worker]
        return self._offer(lease.worker, now)

    def take(self, worker: Worker, ticket: Ticket, now: float) -> Lease[Ticket, Worker] | None:
        """Lock `worker` for `ticket` if the worker is free, else return None.

        This bypasses the queue, but without limits the queue is empty while a worker is free.
        """
        if worker not in self._free:
            return None
        del self._free[worker]
        lease = self._leases[worker] = Lease(ticket, worker, now)
        return lease

    def cancel(self, ticket: Ticket) -> bool:
        """Remove `ticket` from the queue. False if it was not queued."""
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
        """Return the moment when the next ticket will exceed the queue timeout; None if none will."""
        if self.queue_timeout is None or not self._queue:
            return None
        return next(iter(self._queue.values())) + self.queue_timeout

    def reorder(self, since: Callable[[Ticket], float]) -> None:
        """Sort the queue by `since`: the moment from which each ticket counts as queued."""
        reorder(self._queue, since)
        self._latest = max(self._latest, next(reversed(self._queue.values()), self._latest))

    def enforce(self, enforced: bool, now: float) -> list[Lease[Ticket, Worker]]:
        """Apply limits of locks from now on, or leave them to the Faucet to which the requests go: a request would
        otherwise be held back twice. Return the leases that follow. Nothing is limited in this class."""
        return []

    def clear(self) -> list[Ticket]:
        """Empty the queue. Return the tickets that were queued, oldest first."""
        waiting = list(self._queue)
        self._queue.clear()
        return waiting

    # -- workers -----------------------------------------------------------------------------------------------

    def add(self, worker: Worker, now: float, held: bool = False) -> Lease[Ticket, Worker] | None:
        """Add a worker. If `held`, it gets no tickets before `resume`. Return the lease that follows, if any.

        Raises ValueError if the worker was added before.
        """
        if worker in self._workers:
            raise ValueError(f"{worker!r} is here already")
        self._workers.add(worker)
        if held:
            self._held.add(worker)
        return self._offer(worker, now)

    def remove(self, worker: Worker) -> Lease[Ticket, Worker] | None:
        """Remove `worker` and its lock. Return the lease that was held on it, if any. Idempotent."""
        self._workers.discard(worker)
        self._held.discard(worker)
        self._free.pop(worker, None)
        return self._leases.pop(worker, None)

    def after_removal(self, now: float) -> Lease[Ticket, Worker] | None:
        """Return the lease that follows from `remove`, after the removed lease has been handled.

        Always None here; see `limits`.
        """
        return None

    def hold(self, worker: Worker) -> None:
        """Give `worker` no new tickets. The holder of its lock keeps it. Idempotent; unknown workers are ignored."""
        if worker in self._workers:
            self._held.add(worker)
            self._free.pop(worker, None)

    def resume(self, worker: Worker, now: float) -> Lease[Ticket, Worker] | None:
        """Undo hold. Return the lease that follows, if any. Idempotent."""
        if worker not in self._held:
            return None
        self._held.remove(worker)
        return None if worker in self._leases else self._offer(worker, now)

    def _offer(self, worker: Worker, now: float) -> Lease[Ticket, Worker] | None:
        """Lock the unlocked `worker` for the first ticket of the queue, or mark it as free. No effect if it is held."""
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
        """The number of queued tickets."""
        return len(self._queue)

    @property
    def free(self) -> int:
        """The number of free workers."""
        return len(self._free)

    @property
    def oldest(self) -> float | None:
        """The moment since when the oldest ticket has been queued; None: the queue is empty."""
        return next(iter(self._queue.values()), None)

    @property
    def runnable(self) -> int:
        """The number of queued tickets that wait only for a worker, not for a limit. Here: all of them."""
        return self.waiting

    @property
    def runnable_since(self) -> float | None:
        """As `oldest`, for the tickets that wait only for a worker."""
        return self.oldest

    @property
    def locked(self) -> int:
        """The number of locked workers."""
        return len(self._leases)

    @property
    def size(self) -> int:
        """The number of workers, in any state."""
        return len(self._workers)

    def lease(self, worker: Worker) -> Lease[Ticket, Worker] | None:
        """Return the lease of `worker`; None if it is not locked."""
        return self._leases.get(worker)

    def leases(self) -> list[Lease[Ticket, Worker]]:
        """Return all leases."""
        return list(self._leases.values())

    def queue(self) -> Iterator[tuple[Ticket, float]]:
        """Iterate over the queued tickets, the next one first, and the moments since when they wait."""
        return iter(self._queue.items())

    def patience(self, ticket: Ticket) -> float | None:
        """Return how long `ticket` may be queued, in seconds; None: no limit."""
        return self.queue_timeout

    def limited_by(self, ticket: Ticket) -> str:
        """Return the name of the limit that makes `ticket` wait even if a worker is free; empty if there is none."""
        return ""

    def __repr__(self) -> str:
        free = " ".join(str(worker) for worker in self._free)
        locked = " ".join(f"{lease.worker}:{lease.holder}" for lease in self._leases.values())
        held = " ".join(sorted(str(worker) for worker in self._held))
        queue = " ".join(str(ticket) for ticket, _ in self.queue())
        return f"<Dispatcher free[{free}] locked[{locked}] held[{held}] queue[{queue}]>"


def append(queue: OrderedDict[Ticket, float], ticket: Ticket, since: float) -> None:
    """Put `ticket` at the end of a queue. It counts as queued no earlier than its predecessor, so that the queue stays
    in the order of expiry."""
    queue[ticket] = max(since, next(reversed(queue.values()), since))


def reorder(queue: OrderedDict[Ticket, float], since: Callable[[Ticket], float]) -> None:
    """Sort a queue by `since`: the moment from which each ticket counts as queued."""
    tickets = sorted(queue, key=since)
    queue.clear()
    queue.update((ticket, since(ticket)) for ticket in tickets)
