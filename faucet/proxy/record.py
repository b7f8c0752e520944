"""What is told of an exchange afterwards: times, sizes, names. Kept apart from what decides its course."""

from __future__ import annotations

from time import monotonic, time

from faucet.http1 import StartLine
from faucet.proxy.stats import UNKNOWN, Record

CLIENT_CLOSED_REQUEST = 499
"""What the log shows where no answer could be sent, because the client had left. As in nginx; never sent."""


class Account(Record):
    """The record of one exchange while it comes about. Its times are of the monotonic clock, but for `ended`."""

    __slots__ = ("_remarks", "_settled", "_waits_since", "granted_at", "left_at", "number", "ready_at", "waiting_since")

    def __init__(self, client: str, method: bytes, target: bytes, minor: int = 1, received: int = 0) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.minor = minor
        self.received = received
        self.status = self.sent = self.number = 0  # numbered by whoever names it while it is queued
        self.ended = self.waited = self.service = self.left = 0.0
        self.worker = self.note = self.request_id = self.error = self.trace = ""
        self.ready_at = 0.0
        """When the request was in hand."""
        self.granted_at = 0.0
        """When it got its last lock; 0 before."""
        self.left_at = 0.0
        """When its client's connection was lost; 0: it was not."""
        self.waiting_since = 0.0
        """When it was in hand, put off by the time that workers were at work on it: what its queue timeout counts."""
        self._waits_since = 0.0  # for a lock; 0: it does not
        self._settled = False
        self._remarks = ""

    def ready(self) -> None:
        """The request is in hand, and waits for a lock."""
        self.ready_at = self._waits_since = monotonic()
        self.waiting_since = self.ready_at - self.waited  # it may have waited elsewhere

    def granted(self, worker: str, now: float) -> None:
        """It holds the lock of `worker`."""
        self.worker = worker
        self.granted_at = now
        self.waited += max(now - self._waits_since, 0.0)
        self._waits_since = 0.0

    def waits_again(self, sent: bool) -> None:
        """Its worker failed it, and was or was not `sent` it: it waits for another lock."""
        self._waits_since = monotonic()
        if sent:
            self.waiting_since += self._waits_since - self.granted_at

    def client_left(self) -> None:
        """Its client's connection is lost."""
        self.left_at = monotonic()

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
            self.left = now - max(self.left_at, self.granted_at) if self.left_at else 0.0
        if self._remarks:
            note = f"{self._remarks}; {note}" if note else self._remarks
        self.ended, self.status, self.note = time(), status, note
        return True


def refused(client: str, line: StartLine | None, status: int, detail: str, sent: int, received: int) -> Record:
    """The record of a request that was answered before it was an exchange; `line` None: it was not even a request."""
    account = Account(client, *(line or (b"-", b"-", UNKNOWN)), received)
    account.sent = sent
    account.settle(status, detail)
    return account


TARGET_LIMIT = 300
"""Characters of a request's target that are shown. A target may have 64 KiB."""


def describe(record: Record) -> str:
    """`POST /predict`."""
    return f"{record.method.decode()} {record.target[:TARGET_LIMIT].decode('latin-1')}"


def serving(record: Record) -> str:
    """`GET /segv?x=1 from 10.0.0.7`, in one line whatever the client has sent."""
    text = f"{describe(record)} from {record.client}"
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
