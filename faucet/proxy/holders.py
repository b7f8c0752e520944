"""Who may hold the lock of a worker, and what a worker is, as far as its lock is concerned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from faucet.proxy.limits import RequestClass
from faucet.proxy.locks import Lease
from faucet.proxy.record import Account


class Holder:
    """Whoever may hold the lock of a worker: a request, a health check, or nobody but the clock."""

    __slots__ = ("account", "lease", "request_class")

    account: Account
    request_class: RequestClass[Holder]
    """Which limit it is under. Set where there are limits, when it asks for a lock in its turn."""

    def __init__(self) -> None:
        self.lease: PoolLease | None = None

    @property
    def at_work(self) -> bool:
        """The worker whose lock it holds, or held until now, has its request and has not answered."""
        return True

    @property
    def is_elsewhere(self) -> bool:
        """Another Faucet has it, or gets it."""
        return self.lease is not None and self.lease.worker.queues

    def granted(self, lease: PoolLease) -> None:
        """It holds a lock now."""
        self.lease = lease
        self.account.granted(lease.worker.name, lease.since)

    def has_to_wait(self) -> None:
        """No worker is free: it is in the queue."""

    def lock_gone(self) -> None:
        """The worker is gone, and its lock with it."""
        self.lease = None

    def refuse(self, status: int, detail: str, retry_after: int | None = None) -> None:
        """It gets no worker."""

    def timed_out(self) -> None:
        """The request timeout is over, and it holds the lock still."""

    def give_up_waiting(self) -> None:
        """The service ends: if nobody waits for this but us, because its worker might answer late, do not."""

    def abandon(self, detail: str) -> None:
        """The service ends now."""

    def internal_error(self) -> None:
        """A bug of ours, already logged. The lock must not be lost with it."""


class Upstream(Protocol):
    """A worker, as its lock needs it. One per incarnation: a worker that was restarted is another."""

    name: str
    gone: bool
    """It was removed."""
    tunnels: int
    """WebSockets that are open to it."""
    lock_grace: float | None
    """Seconds that it stays locked if it does not answer in time; None: it can be ended, and is."""
    queues: bool
    """It is another Faucet, which has a queue, locks and deadlines of its own: it is not to blame for the time that a
    request takes, and has to learn that a client has left."""
    on_unreachable: Callable[[Exception], None]
    on_hung: Callable[[Account], None]

    def begin(self, exchange: Any) -> None:
        """Send the request of an Exchange, which holds the lock."""

    def __hash__(self) -> int: ...


PoolLease: TypeAlias = Lease[Holder, Upstream]
"""The lock of a worker, in somebody's hands."""
