"""The locks and the queue: who may use which worker, and who waits.

Tickets (requests) go in, grants come out. A grant is a lock: one ticket holds one worker, as a database
transaction holds a row, until it is released or the worker is removed. Tickets that find no free worker wait
in one queue, first come first served. Of free workers the one that has been free longest is taken.

The module knows nothing of sockets, processes or time (callers pass the clock's reading in). Each operation is
synchronous, O(1), and leaves the state consistent; what has to be done about its outcome is returned, for the
caller to do. So every interleaving can be tested without a loop, and `repr()` tells the whole state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

Ticket = TypeVar("Ticket", bound=Hashable)
Worker = TypeVar("Worker", bound=Hashable)


class Grant(NamedTuple, Generic[Ticket, Worker]):
    """`ticket` now holds the lock of `worker`."""

    ticket: Ticket
    worker: Worker


class QueueFull(Exception):
    """As many tickets wait as may wait."""


class LockError(Exception):
    """A lock was released by someone who does not hold it. Always a bug of the caller's."""


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
        self._holder: dict[Worker, Ticket] = {}  # locked workers
        self._held: set[Worker] = set()  # get no new tickets, whether locked or not
        self._workers: set[Worker] = set()
        self._queue: OrderedDict[Ticket, float] = OrderedDict()  # since when each waits, oldest first

    # -- tickets -----------------------------------------------------------------------------------------------

    def acquire(self, ticket: Ticket, now: float) -> Worker | None:
        """The worker that `ticket` may use at once, or None: it waits, and a grant will name it later.

        Raises QueueFull, with nothing changed.
        """
        if self._free:
            worker, _ = self._free.popitem(last=False)
            self._holder[worker] = ticket
            return worker
        if len(self._queue) >= self.queue_limit:
            raise QueueFull
        self._queue[ticket] = now
        return None

    def reacquire(self, ticket: Ticket, now: float) -> Worker | None:
        """As acquire, for a ticket that waited its turn once and whose worker then failed it.

        It goes to the head of the queue, and past its limit: it has been here longer than any that wait. Its time
        starts anew, but ends with that of the next behind it, so that the queue stays in the order of expiry.
        """
        if self._free:
            return self.acquire(ticket, now)
        since = next(iter(self._queue.values()), now)
        self._queue[ticket] = since
        self._queue.move_to_end(ticket, last=False)
        return None

    def release(self, worker: Worker, ticket: object) -> Grant[Ticket, Worker] | None:
        """Give the lock back. Returns the grant that follows from it, if a ticket waits and the worker may serve.

        Raises LockError if `ticket` does not hold the lock of `worker`.
        """
        if worker not in self._holder or self._holder[worker] != ticket:
            raise LockError(f"{ticket!r} does not hold the lock of {worker!r}")
        del self._holder[worker]
        return self._offer(worker)

    def transfer(self, worker: Worker, ticket: object, to: Ticket) -> None:
        """The lock of `worker` is no longer that of `ticket` but of `to`. Raises LockError as `release`."""
        if worker not in self._holder or self._holder[worker] != ticket:
            raise LockError(f"{ticket!r} does not hold the lock of {worker!r}")
        self._holder[worker] = to

    def take(self, worker: Worker, ticket: Ticket) -> bool:
        """Lock that worker for `ticket`, if it is free: out of turn, but nobody waits while a worker is free."""
        if worker not in self._free:
            return False
        del self._free[worker]
        self._holder[worker] = ticket
        return True

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

    def clear(self) -> list[Ticket]:
        """Empty the queue; whoever waited, oldest first."""
        waiting = list(self._queue)
        self._queue.clear()
        return waiting

    # -- workers -----------------------------------------------------------------------------------------------

    def add(self, worker: Worker, held: bool = False) -> Grant[Ticket, Worker] | None:
        """Put a new worker to use, or keep it for a `resume`, if `held`. Returns the grant that follows.

        Raises ValueError if it is here already.
        """
        if worker in self._workers:
            raise ValueError(f"{worker!r} is here already")
        self._workers.add(worker)
        if held:
            self._held.add(worker)
        return self._offer(worker)

    def remove(self, worker: Worker) -> Ticket | None:
        """Forget `worker`, which is gone; its lock with it. Returns the ticket that held it. Idempotent."""
        self._workers.discard(worker)
        self._held.discard(worker)
        self._free.pop(worker, None)
        return self._holder.pop(worker, None)

    def hold(self, worker: Worker) -> None:
        """Give `worker` no new tickets. One that holds its lock keeps it. Idempotent; unknown ones are ignored."""
        if worker in self._workers:
            self._held.add(worker)
            self._free.pop(worker, None)

    def resume(self, worker: Worker) -> Grant[Ticket, Worker] | None:
        """Undo hold. Returns the grant that follows. Idempotent."""
        if worker not in self._held:
            return None
        self._held.remove(worker)
        return None if worker in self._holder else self._offer(worker)

    def _offer(self, worker: Worker) -> Grant[Ticket, Worker] | None:
        """`worker` is not locked: lock it for whoever waits longest, else let it be free."""
        if worker in self._held or worker not in self._workers:
            return None
        if not self._queue:
            self._free[worker] = None
            return None
        ticket, _ = self._queue.popitem(last=False)
        self._holder[worker] = ticket
        return Grant(ticket, worker)

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Tickets in the queue."""
        return len(self._queue)

    @property
    def locked(self) -> int:
        """Workers whose lock is held."""
        return len(self._holder)

    @property
    def size(self) -> int:
        """Workers known, whatever their state."""
        return len(self._workers)

    def holder(self, worker: Worker) -> Ticket | None:
        """The ticket that holds the lock of `worker`."""
        return self._holder.get(worker)

    def holders(self) -> list[Ticket]:
        """The tickets that hold a lock."""
        return list(self._holder.values())

    def queue(self) -> Iterator[tuple[Ticket, float]]:
        """The waiting tickets and since when, oldest first."""
        return iter(self._queue.items())

    def __repr__(self) -> str:
        free = " ".join(str(worker) for worker in self._free)
        locked = " ".join(f"{worker}:{ticket}" for worker, ticket in self._holder.items())
        held = " ".join(sorted(str(worker) for worker in self._held))
        queue = " ".join(str(ticket) for ticket in self._queue)
        return f"<Dispatcher free[{free}] locked[{locked}] held[{held}] queue[{queue}]>"
