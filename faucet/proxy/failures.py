"""What becomes of a request, and of the lock it holds, when something fails.

`after(event, facts)` is pure: no connection, no clock, no state. An Exchange states the facts and carries the verdict
out, so every failure can be tried without one, and docs/requests.md prints the table of them from here.

Two things are decided each time. The *fate* of the request: a client gets an answer or a cut, never half an answer
that looks whole; and what might change something twice is never sent twice. The *lock*: it stays for as long as the
worker may be at work, as far as anybody here can tell.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

MAX_SENDS = 2
"""How often a request may be sent in all: once more, not again (RFC 9110, 9.2.2 leaves it to us)."""

MAX_CONNECTS = 5
"""How many workers in a row may refuse a request's connection. It was never sent, so any request may try again; but a
service in which so many do is broken, and the caller is to learn that."""

RETRY_GRACE = 0.05
"""Seconds between a worker's connection ending without an answer and the next use of that worker. The exit of a
process is known a few milliseconds after its connections have ended."""

BRIEF_FACTOR = 20
"""How many times as long a worker stays locked as it had a request that it has refused, most likely, without a word."""

STALE_SECONDS = 1.0
"""A kept connection that the other side had closed before it was used tells so within a round trip. One that ends
later was in use, and the request may be the reason."""


class Phase(Enum):
    """Where a request is.

        READING ──body in hand──▶ QUEUED ──lock──▶ CONNECTING ──sent──▶ ACTIVE ──answered──▶ DONE

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
    BAD_RESPONSE = "the worker's answer is no HTTP"
    TIMED_OUT = "the request timeout is over"
    CLIENT_GONE = "the client leaves"
    CLIENT_HALF_CLOSED = "the client ends its sending side"
    SHUTDOWN = "the service ends"
    BUG = "Faucet fails to handle it"


class Loss(NamedTuple):
    """How a worker's connection ended before its response did."""

    fresh: bool
    """It was opened for this request."""
    begun: bool
    """Some of a response had come."""
    unread: bool = False
    """The worker has not read a byte of the request: its kernel threw that away."""
    supervised: bool = False
    """If the worker's process has exited, we are told in a moment."""
    request_ended: bool = False
    """We had told the worker that no more comes: it closed because it was done with that."""
    link: bool = False
    """It is the way to the worker that was lost, not the worker."""
    held: float = 0.0
    """Seconds that the worker had the request."""

    @property
    def refused_for(self) -> float:
        """Seconds for which a worker stays locked, at most, that has refused the request."""
        return BRIEF_FACTOR * self.held

    @property
    def detail(self) -> str:
        """A sentence for the client."""
        how = "its answer before it was complete" if self.begun else "the connection without an answer"
        return f"The worker ended {how}."


class Facts(NamedTuple):
    """What is known when something fails."""

    phase: Phase
    waiting: bool = True
    """A client waits for the answer."""
    told: bool = False
    """It has been sent something: an interim response, or part of the answer."""
    relayed: bool = False
    """It has been sent part of the answer."""
    body_done: bool = True
    """The whole request has arrived."""
    repeatable: bool = False
    """HTTP allows to send it again (RFC 9110, 9.2.2), all of it is still here, and it was not sent too often."""
    policy: str = "safe"
    """`--retry`."""
    connects: int = 0
    """How many workers in a row have refused its connection."""
    loss: Loss = Loss(fresh=True, begun=False)
    """How the worker's connection ended."""
    age: float = 0.0
    """Seconds since it got the lock."""
    exited: bool = False
    """The worker is gone, and the lock with it."""
    client_late: bool = False
    """The client does not send the rest, or does not read: the worker waits for it. (The first time only.)"""
    endable: bool = True
    """The worker's process is ours, to be ended and replaced."""
    connected: bool = True
    """There is a connection to the worker."""


class Fate(Enum):
    """What becomes of the request."""

    GOES_ON = "it goes on"
    ANSWER = "the client is answered with an error"
    CUT = "the client is cut off"
    RETRY = "it is sent to another worker"
    RESEND = "it is sent again"
    WAIT = "it is decided in a moment"
    OVER = "nobody waits for an answer"


class Lock(Enum):
    """What becomes of the lock."""

    AS_IT_IS = "as it is"
    RELEASE = "free at once"
    AWAIT_EXIT = "free when the worker is known to live"
    HEAR_OUT = "held until the worker has answered or closed"
    KEEP = "held for a while, since the worker may be at work"
    KEEP_BRIEFLY = "held for twenty times as long as the worker had the request, which it has refused most likely"
    GRACE = "held until the worker has answered or closed, or for the lock grace"
    REPLACE = "gone with the worker, which is ended and replaced"


class Verdict(NamedTuple):
    """What is to be done. `status` is that of an answer of our own."""

    fate: Fate
    lock: Lock
    status: int = 0


def after(event: Event, facts: Facts) -> Verdict:
    """Decide."""
    return _RULES[event](facts)


def _told(facts: Facts, status: int, lock: Lock) -> Verdict:
    """Whoever waits is told that it has failed: by an answer, or where one has begun, by a cut."""
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
    # Its worker may be dying, and what that gets now is lost in its backlog: the lock stays until it is known.
    if facts.waiting and not facts.told and _may_repeat(facts):
        return Verdict(Fate.WAIT, Lock.AWAIT_EXIT)
    return _told(facts, 502, Lock.AWAIT_EXIT if facts.loss.supervised else _of_the_living(facts))


def _may_repeat(facts: Facts) -> bool:
    """A request that has crashed its worker must not crash the next one.

    Of a worker of our own we learn in a moment whether it has exited. Of any other we never do: then only a kept
    connection that turns out to be stale, and does so at once, tells that the request is not to blame.
    """
    if not facts.repeatable or facts.policy != "safe":
        return facts.repeatable and facts.policy == "always"
    loss = facts.loss
    stale = not loss.fresh and (facts.loss.unread or facts.age < STALE_SECONDS)
    return not loss.begun and (loss.supervised or stale)


def _of_the_living(facts: Facts) -> Lock:
    """The lock of a worker that has ended a connection, and lives. It may still be at work on what it has read.

    But any client can send what a worker refuses without a word, as httpuv does with methods it does not know. That
    takes it a millisecond, and must not cost others a worker for a minute.
    """
    if facts.loss.unread or facts.loss.request_ended:
        return Lock.RELEASE
    return Lock.KEEP if facts.loss.begun else Lock.KEEP_BRIEFLY


def _exit_known(facts: Facts) -> Verdict:
    lock = Lock.AS_IT_IS if facts.exited or facts.loss.link else _of_the_living(facts)
    if not facts.waiting:
        return Verdict(Fate.OVER, lock)
    if facts.exited and facts.policy == "safe" and facts.loss.supervised and not facts.loss.unread:
        return _told(facts, 502, lock)  # it may be what has ended the worker
    if lock is Lock.RELEASE and not facts.loss.fresh:
        return Verdict(Fate.RESEND, Lock.AS_IT_IS)  # it was stale, and nobody else gets the worker first
    return Verdict(Fate.RETRY, lock)


def _link_lost(facts: Facts) -> Verdict:
    # The worker may go on with it. Whether the service is cut off as a whole is known after this turn of the loop.
    again = facts.repeatable and facts.policy != "none"
    if facts.waiting and not facts.told and again:
        return Verdict(Fate.WAIT, Lock.KEEP)
    return _told(facts, 502, Lock.KEEP)


def _bad_response(facts: Facts) -> Verdict:
    # It may go on writing. It is told that no more will come, and closes when it is done.
    return _told(facts, 502, Lock.HEAR_OUT)


def _timed_out(facts: Facts) -> Verdict:
    if facts.client_late:
        return _told(facts, 408, Lock.HEAR_OUT)
    if not facts.connected:
        return Verdict(Fate.GOES_ON, Lock.AS_IT_IS)  # the worker does not have it; to connect has a deadline of its own
    if facts.endable:
        return _told(facts, 504, Lock.REPLACE)
    return _told(facts, 504, Lock.GRACE)


def _client_gone(facts: Facts) -> Verdict:
    return Verdict(Fate.OVER, _while_nobody_waits(facts.phase))


def _while_nobody_waits(phase: Phase) -> Lock:
    return Lock.HEAR_OUT if phase is Phase.ACTIVE else Lock.AS_IT_IS


def _client_half_closed(facts: Facts) -> Verdict:
    # It may have done so on purpose, and gets the answer of a worker that is at work. But it leaves the queue: a
    # client that hangs up looks exactly the same.
    if not facts.body_done:
        return Verdict(Fate.OVER, _while_nobody_waits(facts.phase))
    if facts.phase is Phase.QUEUED:
        return Verdict(Fate.ANSWER, Lock.AS_IT_IS, 503)
    return Verdict(Fate.GOES_ON, Lock.AS_IT_IS)


def _shutdown(facts: Facts) -> Verdict:
    return _told(facts, 503, Lock.RELEASE)


def _bug(facts: Facts) -> Verdict:
    # Its connection is closed, but the worker may have got the request.
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
