"""What is told of an exchange afterwards: times, sizes, names. Kept apart from what decides its course."""

from __future__ import annotations

from time import monotonic, time

from faucet.proxy.stats import Record


class Account(Record):
    """The record of one exchange while it comes about. Its times are of the monotonic clock, but for `ended`."""

    __slots__ = ("_remarks", "_settled", "_waits_since", "granted_at", "ready_at")

    def __init__(self, client: str, method: bytes, target: bytes, minor: int = 1, received: int = 0) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.minor = minor
        self.received = received
        self.status = self.sent = 0
        self.ended = self.waited = self.service = 0.0
        self.worker = self.note = self.request_id = ""
        self.ready_at = 0.0
        """When the request was in hand."""
        self.granted_at = 0.0
        """When it got its last lock; 0 before."""
        self._waits_since = 0.0  # for a lock; 0: it does not
        self._settled = False
        self._remarks = ""

    def ready(self) -> None:
        """The request is in hand, and waits for a lock."""
        self.ready_at = self._waits_since = monotonic()

    def granted(self, worker: str) -> None:
        """It holds the lock of `worker`."""
        self.worker = worker
        self.granted_at = monotonic()
        self.waited += self.granted_at - self._waits_since
        self._waits_since = 0.0

    def waits_again(self) -> None:
        """Its worker failed it: it waits for another lock."""
        self._waits_since = monotonic()

    def remark(self, text: str) -> None:
        """Something the log should say, whatever the outcome."""
        self._remarks = f"{self._remarks}; {text}" if self._remarks else text

    def settle(self, status: int, note: str) -> bool:
        """That is what became of it. Only the first word counts: False ever after."""
        if self._settled:
            return False
        self._settled = True
        now = monotonic()
        if self._waits_since:
            self.waited += now - self._waits_since
        elif self.granted_at:
            self.service = now - self.granted_at
        if self._remarks:
            note = f"{self._remarks}; {note}" if note else self._remarks
        self.ended, self.status, self.note = time(), status, note
        return True
