"""What is told of an exchange afterwards: times, sizes, names. Kept apart from what decides its course."""

from __future__ import annotations

from time import monotonic, time

from faucet.http1 import RequestHead
from faucet.stats import Record


class Account:
    """The figures of one exchange while they come in. Times are of the monotonic clock, sizes in bytes."""

    __slots__ = (
        "_remarks",
        "_settled",
        "_waited",
        "_waits_since",
        "granted_at",
        "peer",
        "ready_at",
        "received",
        "request_id",
        "sent",
        "worker",
    )

    def __init__(self, peer: str, received: int) -> None:
        self.peer = peer
        """The client's address."""
        self.worker = ""
        """The last worker whose lock it held; empty before."""
        self.granted_at = 0.0
        """When it got that lock."""
        self.ready_at = 0.0
        """When the request was in hand."""
        self.received = received
        """Of the request, head included."""
        self.request_id = ""
        """Its Faucet-Request-Uuid, if it has one."""
        self.sent = 0
        """Of the response, head included, whoever it is from."""
        self._waits_since = 0.0  # for a lock; 0: it does not
        self._waited = 0.0
        self._settled = False
        self._remarks = ""

    def ready(self) -> None:
        """The request is in hand, and waits for a lock."""
        self.ready_at = self._waits_since = monotonic()

    def granted(self, worker: str) -> None:
        """It holds the lock of `worker`."""
        self.worker = worker
        self.granted_at = monotonic()
        self._waited += self.granted_at - self._waits_since
        self._waits_since = 0.0

    def waits_again(self) -> None:
        """Its worker failed it: it waits for another lock."""
        self._waits_since = monotonic()

    def remark(self, text: str) -> None:
        """Something the log should say, whatever the outcome."""
        self._remarks = f"{self._remarks}; {text}" if self._remarks else text

    def settle(self, head: RequestHead, status: int, note: str) -> Record | None:
        """The record of what became of it, once: None ever after."""
        if self._settled:
            return None
        self._settled = True
        now = monotonic()
        if self._waits_since:
            self._waited += now - self._waits_since
        if self._remarks:
            note = f"{self._remarks}; {note}" if note else self._remarks
        return Record(
            time(),
            self.peer,
            head.method,
            head.target,
            head.minor,
            status,
            self.sent,
            self.received,
            self._waited,
            now - self.granted_at if self.granted_at and not self._waits_since else 0.0,
            self.worker,
            note,
            self.request_id,
        )
