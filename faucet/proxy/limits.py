"""Locks and a queue with limits: the requests of a class may hold only a limited number of locks at the same time.

Each ticket belongs to a class. A class has its own queue, first come first served, and a limit of locks. A class at its
limit does not block the others: a free worker goes to the ticket that has waited longest among the other classes.
A priority is a head start in seconds: a ticket counts as if it had been queued that much earlier. All tickets age
equally fast, so a ticket is never overtaken by a ticket that is queued later by more than the difference.

As in `locks`: no sockets, no clock; each operation is synchronous and returns its outcome. The cost depends on the
number of classes, which are configured, and never on the number of queued tickets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from math import inf
from typing import Generic

from faucet.proxy.locks import Dispatcher, Lease, QueueFull, Ticket, Worker, append, reorder
from faucet.proxy.moving_mean import moved

HEAD_START = 10.0
"""Head start in seconds of one step of priority: enough to pass a queue of quick requests, but not for long."""


class RequestClass(Generic[Ticket]):
    """The requests that one limit matches. The class of requests that no limit matches has an empty name."""

    __slots__ = (
        "at_once", "enforced", "head_start", "locked", "mean_held", "name", "places", "queue", "queue_timeout",
        "refused",
    )  # fmt: skip

    def __init__(
        self, name: str, places: int, queue_timeout: float | None, at_once: int | None = None, priority: int = 0
    ) -> None:
        self.name = name
        self.places = places
        """The most requests that may be queued."""
        self.queue_timeout = queue_timeout
        """The longest time in seconds that a request may be queued; None: no limit."""
        self.at_once = inf if at_once is None else at_once
        """The most locks that the class may hold."""
        self.enforced = True
        """Whether `at_once` holds here: see LimitedDispatcher.enforce."""
        self.head_start = priority * HEAD_START
        self.locked = 0
        """The number of locks that the class holds."""
        self.queue: OrderedDict[Ticket, float] = OrderedDict()
        """The queued tickets, oldest first, and the moment since when each waits."""
        self.mean_held = 0.0
        """Moving mean of how long requests of the class held locks, in seconds."""
        self.refused = 0
        """Requests that got no lock because the queue was full or the queue timeout had passed. Counted by the Pool."""

    @property
    def has_room(self) -> bool:
        """Whether one more request of the class may hold a lock."""
        return self.locked < self.at_once or not self.enforced

    def was_held(self, seconds: float) -> None:
        """A request of the class has held a lock for `seconds`: update the mean."""
        self.mean_held = moved(self.mean_held, seconds)

    @property
    def oldest(self) -> float:
        """The moment since when the first ticket has been queued. The queue must not be empty."""
        return next(iter(self.queue.values()))

    @property
    def expiry(self) -> float:
        """The moment when the first ticket will exceed the queue timeout; infinity if never."""
        return self.oldest + self.queue_timeout if self.queue and self.queue_timeout is not None else inf

    def expire(self, now: float) -> Iterator[tuple[float, Ticket]]:
        """Remove and return the tickets that have been queued for the queue timeout, oldest first."""
        return self.expire_since(-inf if self.queue_timeout is None else now - self.queue_timeout)

    def expire_since(self, moment: float) -> Iterator[tuple[float, Ticket]]:
        """Remove and return the tickets that have been queued since `moment` or longer, oldest first."""
        while self.queue and self.oldest <= moment:
            ticket, since = self.queue.popitem(last=False)
            yield since, ticket

    def expected_wait(self, workers: int) -> float:
        """Return the seconds until a request queued now would be served, as far as this class alone decides."""
        return (len(self.queue) + 1) * self.mean_held / max(min(workers, self.at_once), 1)

    def __repr__(self) -> str:
        return f"{self.name or 'others'}:{self.locked}/{self.at_once}[{' '.join(map(str, self.queue))}]"


class LimitedDispatcher(Dispatcher[Ticket, Worker]):
    """A Dispatcher of tickets in classes. The result of `class_of` for a ticket must not change while it is queued."""

    def __init__(
        self, classes: Sequence[RequestClass[Ticket]], class_of: Callable[[Ticket], RequestClass[Ticket]]
    ) -> None:
        timeouts = [kind.queue_timeout for kind in classes if kind.queue_timeout is not None]
        super().__init__(sum(kind.places for kind in classes), max(timeouts, default=None))
        self.classes = tuple(classes)
        self._class_of = class_of
        self._holds: dict[Worker, RequestClass[Ticket]] = {}  # the class of each lease that has one

    def enforce(self, enforced: bool, now: float) -> list[Lease[Ticket, Worker]]:
        """See Dispatcher. Locks count for their classes all the same."""
        for kind in self.classes:
            kind.enforced = enforced
        return list(iter(lambda: self._match(now), None))

    # -- tickets -----------------------------------------------------------------------------------------------

    def acquire(self, ticket: Ticket, now: float, since: float | None = None) -> Lease[Ticket, Worker] | None:
        """See Dispatcher."""
        kind = self._class_of(ticket)
        if self._free and kind.has_room:
            return self._lock(ticket, kind, now)  # its class has no queue, or that worker would not be free
        if len(kind.queue) >= kind.places:
            raise QueueFull
        append(kind.queue, ticket, now if since is None else since)
        return None

    def reacquire(self, ticket: Ticket, since: float, now: float) -> Lease[Ticket, Worker] | None:
        """See Dispatcher. The ticket goes to the head of the queue of its class."""
        kind = self._class_of(ticket)
        if self._free and kind.has_room:
            return self._lock(ticket, kind, now)
        kind.queue[ticket] = min(since, kind.oldest) if kind.queue else since
        kind.queue.move_to_end(ticket, last=False)
        return None

    def release(self, lease: Lease[Ticket, Worker], now: float) -> Lease[Ticket, Worker] | None:
        """See Dispatcher. The returned lease may be for another worker, which was free."""
        if self._leases.get(lease.worker) is lease:
            kind = self._leave_class(lease.worker)
            if kind is not None:
                kind.was_held(now - lease.since)
        return super().release(lease, now)

    def cancel(self, ticket: Ticket) -> bool:
        """See Dispatcher."""
        return self._class_of(ticket).queue.pop(ticket, None) is not None

    def expire(self, now: float) -> list[Ticket]:
        """See Dispatcher. Each class has its own queue timeout."""
        return _in_order(entry for kind in self.classes for entry in kind.expire(now))

    def expire_since(self, moment: float) -> list[Ticket]:
        """See Dispatcher."""
        return _in_order(entry for kind in self.classes for entry in kind.expire_since(moment))

    def next_expiry(self) -> float | None:
        """See Dispatcher."""
        expiry = min(kind.expiry for kind in self.classes)
        return None if expiry == inf else expiry

    def reorder(self, since: Callable[[Ticket], float]) -> None:
        """See Dispatcher."""
        for kind in self.classes:
            reorder(kind.queue, since)

    def clear(self) -> list[Ticket]:
        """See Dispatcher."""
        return self.expire_since(inf)

    # -- workers -----------------------------------------------------------------------------------------------

    def remove(self, worker: Worker) -> Lease[Ticket, Worker] | None:
        """See Dispatcher. Call `after_removal` when the returned lease has been handled."""
        self._leave_class(worker)
        return super().remove(worker)

    def after_removal(self, now: float) -> Lease[Ticket, Worker] | None:
        """See Dispatcher."""
        return self._match(now)

    def _offer(self, worker: Worker, now: float) -> Lease[Ticket, Worker] | None:
        """Return the lease that follows now that `worker` is not locked.

        There may be one even if `worker` is held: a class may have waited for its lock.
        """
        if worker not in self._held:
            self._free[worker] = None
        return self._match(now)

    def _match(self, now: float) -> Lease[Ticket, Worker] | None:
        """Lock a free worker for the next ticket that may run. Only `enforce` allows more than one ticket to run."""
        kind = self._next_class() if self._free else None
        if kind is None:
            return None
        ticket, _ = kind.queue.popitem(last=False)
        return self._lock(ticket, kind, now)

    def _next_class(self) -> RequestClass[Ticket] | None:
        """Return the class below its limit whose first ticket has waited longest, the head start included."""
        following, earliest = None, inf
        for kind in self.classes:
            if kind.queue and kind.has_room and kind.oldest - kind.head_start < earliest:
                following, earliest = kind, kind.oldest - kind.head_start
        return following

    def _lock(self, ticket: Ticket, kind: RequestClass[Ticket], now: float) -> Lease[Ticket, Worker]:
        """Lock the worker that has been free longest, for `ticket`."""
        worker, _ = self._free.popitem(last=False)
        kind.locked += 1
        self._holds[worker] = kind
        lease = self._leases[worker] = Lease(ticket, worker, now)
        return lease

    def _leave_class(self, worker: Worker) -> RequestClass[Ticket] | None:
        kind = self._holds.pop(worker, None)
        if kind is not None:
            kind.locked -= 1
        return kind

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """See Dispatcher."""
        return sum(len(kind.queue) for kind in self.classes)

    @property
    def oldest(self) -> float | None:
        """See Dispatcher."""
        return min((kind.oldest for kind in self.classes if kind.queue), default=None)

    @property
    def runnable(self) -> int:
        """See Dispatcher."""
        return int(sum(min(len(kind.queue), _room(kind)) for kind in self.classes))

    @property
    def runnable_since(self) -> float | None:
        """See Dispatcher."""
        return min((kind.oldest for kind in self.classes if kind.queue and kind.has_room), default=None)

    def patience(self, ticket: Ticket) -> float | None:
        """See Dispatcher. The result is the queue timeout of the ticket's class."""
        return self._class_of(ticket).queue_timeout

    def limited_by(self, ticket: Ticket) -> str:
        """See Dispatcher."""
        kind = self._class_of(ticket)
        return "" if kind.has_room else kind.name

    def queue(self) -> Iterator[tuple[Ticket, float]]:
        """See Dispatcher. The order is the one in which the tickets would run if no class were at its limit."""
        queues = [_with_order(kind) for kind in self.classes]
        return ((ticket, since) for _, ticket, since in merge(*queues, key=lambda entry: entry[0]))

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]} classes[{' '.join(map(repr, self.classes))}]>"


def _room(kind: RequestClass[Ticket]) -> float:
    """Return how many more locks the class may hold. Fewer than none, if its locks were not limited before, is none."""
    return max(kind.at_once - kind.locked, 0) if kind.enforced else inf


def _with_order(kind: RequestClass[Ticket]) -> Iterator[tuple[float, Ticket, float]]:
    return ((since - kind.head_start, ticket, since) for ticket, since in kind.queue.items())


def _in_order(expired: Iterator[tuple[float, Ticket]]) -> list[Ticket]:
    return [ticket for _, ticket in sorted(expired, key=lambda entry: entry[0])]
