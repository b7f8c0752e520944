"""What is told of an exchange afterwards: times, sizes, names. Kept apart from what decides its course."""

from __future__ import annotations

from time import monotonic, time

from faucet.http1 import RequestHead
from faucet.stats import Record


class Account:
    """The figures of one exchange while they come in. Times are of the monotonic clock, sizes in bytes."""

    __slots__ = ("_granted_at", "_peer", "_settled", "_waited", "_worker", "ready_at", "received", "sent")

    def __init__(self, peer: str, received: int) -> None:
        self._peer = peer
        self._worker = ""
        self._granted_at = 0.0
        self._waited = 0.0
        self._settled = False
        self.ready_at = 0.0
        """When the request was in hand."""
        self.received = received
        """Of the request, head included."""
        self.sent = 0
        """Of the response, head included, whoever it is from."""

    def ready(self) -> None:
        """The request is in hand."""
        self.ready_at = monotonic()

    def granted(self, worker: str) -> None:
        """It holds the lock of `worker`."""
        self._worker = worker
        self._granted_at = monotonic()
        self._waited = self._granted_at - self.ready_at

    def settle(self, head: RequestHead, status: int, note: str) -> Record | None:
        """The record of what became of it, once: None ever after."""
        if self._settled:
            return None
        self._settled = True
        return Record(
            time(),
            self._peer,
            head.method,
            head.target,
            head.minor,
            status,
            self.sent,
            self.received,
            self._waited,
            monotonic() - self._granted_at if self._granted_at else 0.0,
            self._worker,
            note,
        )
