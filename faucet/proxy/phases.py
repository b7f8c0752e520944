"""Where a request is, and how often and how fast it may go back.

    READING ──body in hand──▶ QUEUED ──lock──▶ CONNECTING ──sent──▶ ACTIVE ──answered──▶ DONE

A worker that fails a request in CONNECTING, or in ACTIVE before its first byte, may send it back to QUEUED.
"""

from __future__ import annotations

from enum import Enum

CLIENT_CLOSED_REQUEST = 499
"""What the log shows where no answer could be sent, because the client had left. As in nginx; never sent."""

HALF_CLOSED = "the client had ended its sending side, and may not have read this"
"""Noted beside the status where nobody can tell a client that half-closed from one that hung up."""

MAX_SENDS = 2
"""How often a request may be sent in all: once more, not again, since a request that kills its worker must not
kill them all (RFC 9110, 9.2.2 leaves it to us)."""

RETRY_GRACE = 0.05
"""Seconds between a worker's connection ending without an answer and the request being sent again. The exit of a
killed process is known a few milliseconds after its connections have ended."""


class Phase(Enum):
    """Where a request is."""

    READING = "reading"
    QUEUED = "queued"
    CONNECTING = "connecting"
    ACTIVE = "active"
    DONE = "done"


NO_DESCRIPTORS = "Faucet has no file descriptors to spare; its log says what to do."
"""What a client is told whom we cannot serve for want of one."""
