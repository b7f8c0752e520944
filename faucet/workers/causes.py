"""Why a worker's process is ended or replaced: a reason for the metrics, and a text for users.

The reason is set where the decision is made, and travels with the text from there.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Reason(Enum):
    """The values are the label `reason` of the metric `faucet_worker_restarts_total`."""

    EXIT = "exit"
    """The process ended by itself, or was ended because it no longer accepted connections."""
    OUT_OF_MEMORY = "out_of_memory"
    """The kernel killed the process because memory was exhausted."""
    HUNG = "hung"
    """The process did not answer a request or a health check in time."""
    UNHEALTHY = "unhealthy"
    """The process answered its health checks with errors."""
    MAX_AGE = "max_age"
    MAX_REQUESTS = "max_requests"
    MAX_RSS = "max_rss"
    RESTART = "restart"
    ROLLING_RESTART = "rolling_restart"
    KILL = "kill"
    SCALE_DOWN = "scale_down"
    """The process is not replaced, so the metric never has this value."""


UNASKED = frozenset({Reason.EXIT, Reason.OUT_OF_MEMORY, Reason.HUNG})
"""Reasons of unexpected ends."""

PLANNED = frozenset({
    Reason.MAX_AGE, Reason.MAX_REQUESTS, Reason.RESTART, Reason.ROLLING_RESTART, Reason.KILL, Reason.SCALE_DOWN
})  # fmt: skip
"""Reasons of ends that somebody has asked for, and that say nothing about the health of a worker."""


class Cause(NamedTuple):
    """Why a process is ended or replaced."""

    reason: Reason
    text: str
    """`rolling restart by SIGHUP`, `killed by the monitor`: as in the log and in the table of workers."""
