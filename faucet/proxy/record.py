"""The record of an exchange for the log: times, sizes, names. Nothing here affects the course of the exchange."""

from __future__ import annotations

from time import monotonic, time
from typing import Final

from faucet.http1 import StartLine
from faucet.proxy.failures import Loss
from faucet.proxy.stats import UNKNOWN, Record

CLIENT_CLOSED_REQUEST: Final = 499
"""The status in the log if the client disconnected before a response. As in nginx; never sent."""


class Account(Record):
    """The record of an exchange in progress. Moments are readings of the monotonic clock, except `ended`."""

    __slots__ = ("_remarks", "_settled", "_waits_since", "granted_at", "left_at", "number", "ready_at", "waiting_since")

    def __init__(self, client: str, method: bytes, target: bytes, minor: int = 1, received: int = 0) -> None:
        self.client = client
        self.method = method
        self.target = target
        self.minor = minor
        self.received = received
        self.status = self.sent = self.number = 0  # set if the request is shown while it is queued
        self.ended = self.waited = self.service = self.left = 0.0
        self.worker = self.note = self.request_id = self.error = self.trace = ""
        self.ready_at = 0.0
        """When the request was ready to be sent."""
        self.granted_at = 0.0
        """When the latest lock was granted; 0: none yet."""
        self.left_at = 0.0
        """When the client's connection was lost; 0: it was not."""
        self.waiting_since = 0.0
        """`ready_at` plus the time in which workers had the request. The queue timeout counts from this moment."""
        self._waits_since = 0.0  # since when the request waits for a lock; 0: it does not wait
        self._settled = False
        self._remarks = ""

    def ready(self) -> None:
        """The request is ready to be sent, and waits for a lock."""
        self.ready_at = self._waits_since = monotonic()
        self.waiting_since = self.ready_at - self.waited  # it may have waited at another Faucet

    def granted(self, worker: str, now: float) -> None:
        """The request has got the lock of `worker` at the moment `now`."""
        self.worker = worker
        self.granted_at = now
        self.waited += max(now - self._waits_since, 0.0)
        self._waits_since = 0.0

    def waits_again(self, sent: bool) -> None:
        """The worker has failed, and the request waits for another lock. `sent`: the worker had been sent it."""
        self._waits_since = monotonic()
        if sent:
            self.waiting_since += self._waits_since - self.granted_at

    def client_left(self) -> None:
        """The client's connection is lost."""
        self.left_at = monotonic()

    def remark(self, text: str) -> None:
        """Add a remark for the log, whatever the outcome."""
        self._remarks = f"{self._remarks}; {text}" if self._remarks else text

    def explain(self, loss: Loss, exited: str) -> Loss:
        """Return `loss` with how the worker's process has ended, and have the note say so.

        The client may have been answered before that was known; whoever looks at the request later is told.
        """
        known = loss._replace(exit=exited)
        self.note = self.note.replace(loss.detail, known.detail)
        return known

    def settle(self, status: int, note: str) -> bool:
        """Set the outcome. Only the first call counts: later calls change nothing and return False."""
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
    """Return the record of a request that was refused before it became an exchange.

    `line` is None if there was no valid request line.
    """
    account = Account(client, *(line or (b"-", b"-", UNKNOWN)), received)
    account.sent = sent
    account.settle(status, detail)
    return account


TARGET_LIMIT = 300
"""The most bytes of a request's target that are shown. A target may have 64 KiB."""


def describe(record: Record) -> str:
    """Return method and target of a request, e.g. `POST /predict`."""
    return f"{record.method.decode()} {record.target[:TARGET_LIMIT].decode('latin-1')}"


def serving(record: Record) -> str:
    """Return e.g. `GET /segv?x=1 from 10.0.0.7`, in one line whatever the client has sent."""
    text = f"{describe(record)} from {record.client}"
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
