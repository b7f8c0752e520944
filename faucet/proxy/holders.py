"""The interfaces of the two parties of a lock: its holder, and the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from faucet.proxy.limits import RequestClass
from faucet.proxy.locks import Lease
from faucet.proxy.record import Account


class Holder:
    """A holder of a worker's lock: a request, a health check, or a timer (`pool.CutOff`)."""

    __slots__ = ("account", "lease", "request_class")

    account: Account
    request_class: RequestClass[Holder]
    """The class whose limit applies. Set only if there are limits, when the holder is submitted to the queue."""

    def __init__(self) -> None:
        self.lease: PoolLease | None = None

    @property
    def at_work(self) -> bool:
        """Whether the worker has received the holder's request and has not answered yet."""
        return True

    @property
    def is_elsewhere(self) -> bool:
        """Whether the lock is of another Faucet, which has its own queue."""
        return self.lease is not None and self.lease.worker.queues

    def granted(self, lease: PoolLease) -> None:
        """Called when a lock is granted to this holder."""
        self.lease = lease
        self.account.granted(lease.worker.name, lease.since)

    def has_to_wait(self) -> None:
        """Called when no worker is free and this holder has been queued."""

    def lock_gone(self) -> None:
        """Called when the worker is gone, and its lock with it."""
        self.lease = None

    def refuse(self, status: int, detail: str, retry_after: int | None = None) -> None:
        """Called when this holder gets no worker: answer with `status`."""

    def timed_out(self) -> None:
        """Called when the request timeout has passed while this holder has the lock."""

    def give_up_waiting(self) -> None:
        """The service is shutting down: stop waiting for a late response that no client waits for."""

    def abandon(self, detail: str) -> None:
        """The service stops now: end the request."""

    def internal_error(self) -> None:
        """A bug in Faucet, already logged, has hit this holder. The lock must not leak."""


class Upstream:
    """A worker, as its lock sees it. A restarted worker is a new object."""

    name: str
    gone: bool
    """Whether the worker was removed."""
    exit: str
    """How its process has ended: `crashed (SIGSEGV)`; empty if that is not known."""
    tunnels: int
    """The number of WebSockets open to the worker."""
    lock_grace: float | None
    """Seconds that the worker stays locked if it does not answer in time. None: Faucet ends and replaces it then."""
    queues: bool = False
    """Whether this is another Faucet, which has its own queue, locks and deadlines. It is not to blame for the time
    that a request takes, and has to learn when a client has disconnected."""
    on_unreachable: Callable[[Exception], None]
    on_hung: Callable[[Account], None]

    def begin(self, exchange: Any) -> None:
        """Send the request of an Exchange, which holds the lock."""
        raise NotImplementedError


PoolLease: TypeAlias = Lease[Holder, Upstream]
"""The lock of a worker, held by a Holder."""
