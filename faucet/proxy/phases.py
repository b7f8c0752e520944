"""Where a request is, and how often and how fast it may go back.

    READING ──body in hand──▶ QUEUED ──lock──▶ CONNECTING ──sent──▶ ACTIVE ──answered──▶ DONE

A worker that fails a request in CONNECTING, or in ACTIVE before its first byte, may send it back to QUEUED.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

CLIENT_CLOSED_REQUEST = 499
"""What the log shows where no answer could be sent, because the client had left. As in nginx; never sent."""

HALF_CLOSED = "the client had ended its sending side, and may not have read this"
"""Noted beside the status where nobody can tell a client that half-closed from one that hung up."""

MAX_SENDS = 2
"""How often a request may be sent in all: once more, not again (RFC 9110, 9.2.2 leaves it to us)."""

RETRY_GRACE = 0.05
"""Seconds between a worker's connection ending without an answer and the next use of that worker. The exit of a
process is known a few milliseconds after its connections have ended."""

STALE_SECONDS = 1.0
"""A kept connection that the other side had closed before it was used tells so within a round trip. One that ends
later was in use, and the request may be the reason."""


class Loss(NamedTuple):
    """How a worker's connection ended before its response did."""

    fresh: bool
    """It was opened for this request."""
    begun: bool
    """Some of a response had come."""
    unread: bool = False
    """It was reset: the worker's kernel threw away what the worker had not read."""
    supervised: bool = False
    """If the worker's process has exited, we are told in a moment."""
    way: bool = False
    """The way to the worker was lost, not the worker."""

    @property
    def detail(self) -> str:
        """A sentence for the client."""
        how = "its answer before it was complete" if self.begun else "the connection without an answer"
        return f"The worker ended {how}."


class Phase(Enum):
    """Where a request is."""

    READING = "reading"
    QUEUED = "queued"
    CONNECTING = "connecting"
    ACTIVE = "active"
    DONE = "done"


NO_DESCRIPTORS = "Faucet has no file descriptors to spare; its log says what to do."
"""What a client is told whom we cannot serve for want of one."""

SHUTTING_DOWN = "The service is shutting down."
