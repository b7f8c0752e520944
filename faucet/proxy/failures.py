"""What becomes of a request, and of the lock it holds, when something fails.

`after(event, facts)` is pure: no connection, no clock, no state. An Exchange states the facts and carries out the
verdict, so every failure can be tested without an Exchange. The table in docs/requests.md is made from these rules.

Each verdict decides two things. The *fate* of the request: the client gets an error response or a reset, never a
partial response that looks complete; and a request that might change something twice is never sent twice. The *lock*:
it is kept for as long as the worker may be at work, as far as Faucet can tell.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

MAX_SENDS = 2
"""How often a request may be sent in all: at most one retry (RFC 9110, 9.2.2 leaves the number open)."""

MAX_CONNECTS = 5
"""How many workers in a row may refuse a request's connection. The request was never sent, so any request may be
retried; but a service in which so many workers refuse is broken, and the client should learn that."""

RETRY_GRACE = 0.05
"""Seconds between the end of a worker's connection without a response and the next use of that worker. The exit of a
process is known a few milliseconds after its connections have ended."""

BRIEF_FACTOR = 20
"""A worker that most likely refused a request without a response stays locked this many times as long as it had it."""

STALE_SECONDS = 1.0
"""If the worker had closed a kept connection before its reuse, Faucet learns that within a round trip. A connection
that ends later was in use, and the request may be the reason."""


class Phase(Enum):
    """Where a request is.

        READING ──body ready──▶ QUEUED ──lock──▶ CONNECTING ──sent──▶ ACTIVE ──answered──▶ DONE

    A worker that fails a request in CONNECTING, or in ACTIVE before its first byte, may send it back to QUEUED.
    """

    READING = "reading"
    QUEUED = "queued"
    CONNECTING = "connecting"
    ACTIVE = "active"
    DONE = "done"


class Event(Enum):
    """What can fail."""

    CONNECT_FAILED = "the worker accepts no connection"
    NO_DESCRIPTOR = "Faucet has no file descriptor left for a connection"
    WORKER_ENDED = "the worker ends the connection before its answer is complete"
    EXIT_KNOWN = "it is known whether that worker has exited"
    LINK_LOST = "the way to the worker is lost"
    BAD_RESPONSE = "the worker's response is not valid HTTP"
    TIMED_OUT = "the request timeout is over"
    CLIENT_GONE = "the client leaves"
    CLIENT_HALF_CLOSED = "the client ends its sending side"
    SHUTDOWN = "the service ends"
    BUG = "Faucet fails to handle it"


class Loss(NamedTuple):
    """How a worker's connection ended before its response did."""

    fresh: bool
    """The connection was opened for this request."""
    begun: bool
    """Part of a response had arrived."""
    unread: bool = False
    """The worker has not read a byte of the request: its kernel discarded the request."""
    supervised: bool = False
    """The worker is a supervised process: whether it has exited is known within RETRY_GRACE."""
    request_ended: bool = False
    """Faucet had closed its sending side: the worker closed because it was done with the incomplete request."""
    link: bool = False
    """The network path to the worker was lost, not the worker."""
    held: float = 0.0
    """Seconds that the worker had the request."""
    exit: str = ""
    """How the worker's process has ended, once that is known: `crashed (SIGSEGV)`."""

    @property
    def refused_for(self) -> float:
        """The most seconds for which a worker that has refused the request stays locked."""
        return BRIEF_FACTOR * self.held

    @property
    def detail(self) -> str:
        """The reason, as a sentence for the client."""
        if self.exit:
            return f"The worker {self.exit} {'before its answer was complete' if self.begun else 'without an answer'}."
        how = "its answer before it was complete" if self.begun else "the connection without an answer"
        return f"The worker ended {how}."


class Facts(NamedTuple):
    """What is known when something fails."""

    phase: Phase
    waiting: bool = True
    """A client waits for the response."""
    told: bool = False
    """The client has been sent an interim response, or part of the final response."""
    relayed: bool = False
    """The client has been sent part of the final response."""
    body_done: bool = True
    """The whole request has arrived."""
    repeatable: bool = False
    """The method is idempotent (RFC 9110, 9.2.2), the whole request is still buffered, and MAX_SENDS is not reached."""
    policy: str = "safe"
    """The value of `--retry`."""
    connects: int = 0
    """How many workers in a row have refused the request's connection."""
    loss: Loss = Loss(fresh=True, begun=False)
    """How the worker's connection ended."""
    age: float = 0.0
    """Seconds since the lock was granted."""
    exited: bool = False
    """The worker has exited, and its lock is gone."""
    client_late: bool = False
    """The worker waits for the client, which does not send its body, or does not read. Stated only once per request."""
    endable: bool = True
    """Faucet can end and replace the worker's process."""
    connected: bool = True
    """A connection to the worker is open."""


class Fate(Enum):
    """What becomes of the request."""

    GOES_ON = "it continues"
    ANSWER = "the client is answered with an error"
    CUT = "the client is cut off"
    RETRY = "it is sent to another worker"
    RESEND = "it is sent again"
    WAIT = "it is decided in a moment"
    OVER = "no client waits for an answer any more"


class Lock(Enum):
    """What becomes of the lock."""

    AS_IT_IS = "as it is"
    RELEASE = "free at once"
    AWAIT_EXIT = "free when the worker is known to live"
    HEAR_OUT = "held until the worker has answered or closed"
    KEEP = "held for a while, since the worker may be at work"
    KEEP_BRIEFLY = "held for twenty times as long as the worker had the request, which it has most likely refused"
    GRACE = "held until the worker has answered or closed, or for the lock grace"
    REPLACE = "gone with the worker, which is ended and replaced"


class Verdict(NamedTuple):
    """The decision on a failure. `status` is the status of an error response of Faucet's own."""

    fate: Fate
    lock: Lock
    status: int = 0


def after(event: Event, facts: Facts) -> Verdict:
    """Return the verdict on `event`."""
    return _RULES[event](facts)


def _told(facts: Facts, status: int, lock: Lock) -> Verdict:
    """End the request: by an error response, or by a reset if part of a response was relayed."""
    if not facts.waiting:
        return Verdict(Fate.OVER, lock)
    return Verdict(Fate.CUT, lock) if facts.relayed else Verdict(Fate.ANSWER, lock, status)


def _connect_failed(facts: Facts) -> Verdict:
    # Nothing was sent, so any request may go to another worker.
    if facts.waiting and facts.connects < MAX_CONNECTS:
        return Verdict(Fate.RETRY, Lock.RELEASE)
    return _told(facts, 502, Lock.RELEASE)


def _no_descriptor(facts: Facts) -> Verdict:
    return _told(facts, 503, Lock.RELEASE)


def _worker_ended(facts: Facts) -> Verdict:
    # The worker may be exiting, and a request sent now would be lost in its backlog: keep the lock until that is known.
    if facts.waiting and not facts.told and _may_repeat(facts):
        return Verdict(Fate.WAIT, Lock.AWAIT_EXIT)
    return _told(facts, 502, Lock.AWAIT_EXIT if facts.loss.supervised else _of_the_living(facts))


def _may_repeat(facts: Facts) -> bool:
    """Whether the request may be sent again: a request that has crashed its worker must not crash the next worker.

    Whether a supervised worker has exited is known shortly. For any other worker it is never known: then only a kept
    connection that proves to be stale at once shows that the request is not to blame.
    """
    if not facts.repeatable or facts.policy != "safe":
        return facts.repeatable and facts.policy == "always"
    loss = facts.loss
    stale = not loss.fresh and (facts.loss.unread or facts.age < STALE_SECONDS)
    return not loss.begun and (loss.supervised or stale)


def _of_the_living(facts: Facts) -> Lock:
    """Decide the lock of a worker that has closed a connection but lives. It may still be at work on the request.

    But any client can send a request that a worker refuses without a response, as httpuv does with unknown methods. The
    refusal takes a millisecond, and must not cost other clients a worker for a minute.
    """
    if facts.loss.unread or facts.loss.request_ended:
        return Lock.RELEASE
    return Lock.KEEP if facts.loss.begun else Lock.KEEP_BRIEFLY


def _exit_known(facts: Facts) -> Verdict:
    lock = Lock.AS_IT_IS if facts.exited or facts.loss.link else _of_the_living(facts)
    if not facts.waiting:
        return Verdict(Fate.OVER, lock)
    if facts.exited and facts.policy == "safe" and facts.loss.supervised and not facts.loss.unread:
        return _told(facts, 502, lock)  # the request may have crashed the worker
    if lock is Lock.RELEASE and not facts.loss.fresh:
        return Verdict(Fate.RESEND, Lock.AS_IT_IS)  # the connection was stale; keep the worker
    return Verdict(Fate.RETRY, lock)


def _link_lost(facts: Facts) -> Verdict:
    # The worker may go on. Whether the way to all workers is lost is known after this turn of the loop.
    again = facts.repeatable and facts.policy != "none"
    if facts.waiting and not facts.told and again:
        return Verdict(Fate.WAIT, Lock.KEEP)
    return _told(facts, 502, Lock.KEEP)


def _bad_response(facts: Facts) -> Verdict:
    # The worker may go on writing. Faucet closes its sending side; the worker closes when it is done.
    return _told(facts, 502, Lock.HEAR_OUT)


def _timed_out(facts: Facts) -> Verdict:
    if facts.client_late:
        return _told(facts, 408, Lock.HEAR_OUT)
    if not facts.connected:
        return Verdict(Fate.GOES_ON, Lock.AS_IT_IS)  # not sent yet; connecting has its own deadline
    if facts.endable:
        return _told(facts, 504, Lock.REPLACE)
    return _told(facts, 504, Lock.GRACE)


def _client_gone(facts: Facts) -> Verdict:
    return Verdict(Fate.OVER, _while_nobody_waits(facts.phase))


def _while_nobody_waits(phase: Phase) -> Lock:
    return Lock.HEAR_OUT if phase is Phase.ACTIVE else Lock.AS_IT_IS


def _client_half_closed(facts: Facts) -> Verdict:
    # The client may have half-closed on purpose, so it still gets the response of a worker that is at work. But a
    # queued request leaves the queue: a client that has disconnected looks exactly the same.
    if not facts.body_done:
        return Verdict(Fate.OVER, _while_nobody_waits(facts.phase))
    if facts.phase is Phase.QUEUED:
        return Verdict(Fate.ANSWER, Lock.AS_IT_IS, 503)
    return Verdict(Fate.GOES_ON, Lock.AS_IT_IS)


def _shutdown(facts: Facts) -> Verdict:
    return _told(facts, 503, Lock.RELEASE)


def _bug(facts: Facts) -> Verdict:
    # The worker's connection is closed, but the worker may have received the request.
    lock = Lock.KEEP if facts.connected else Lock.RELEASE
    if not facts.waiting:
        return Verdict(Fate.OVER, lock)
    return Verdict(Fate.CUT, lock) if facts.told else Verdict(Fate.ANSWER, lock, 500)


_RULES = {
    Event.CONNECT_FAILED: _connect_failed,
    Event.NO_DESCRIPTOR: _no_descriptor,
    Event.WORKER_ENDED: _worker_ended,
    Event.EXIT_KNOWN: _exit_known,
    Event.LINK_LOST: _link_lost,
    Event.BAD_RESPONSE: _bad_response,
    Event.TIMED_OUT: _timed_out,
    Event.CLIENT_GONE: _client_gone,
    Event.CLIENT_HALF_CLOSED: _client_half_closed,
    Event.SHUTDOWN: _shutdown,
    Event.BUG: _bug,
}
