"""Why a worker's process is ended or replaced: a reason for the metrics, and a text for people.

The reason is set where the decision is made, and travels with the text from there.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Reason(Enum):
    """The values are the label `reason` of the metric `faucet_worker_restarts_total`."""

    EXIT = "exit"
    """It ended by itself, or was given up since it accepted no connections any more."""
    OUT_OF_MEMORY = "out_of_memory"
    """The kernel ended it for want of memory."""
    HUNG = "hung"
    """It did not answer a request or a health check in time."""
    UNHEALTHY = "unhealthy"
    """It answered its health checks with errors."""
    MAX_AGE = "max_age"
    MAX_REQUESTS = "max_requests"
    MAX_RSS = "max_rss"
    RESTART = "restart"
    ROLLING_RESTART = "rolling_restart"
    KILL = "kill"
    SCALE_DOWN = "scale_down"
    """It is not replaced, so the metric never has this one."""


UNASKED = frozenset({Reason.EXIT, Reason.OUT_OF_MEMORY, Reason.HUNG})
"""Reasons of ends that nobody has asked for."""


class Cause(NamedTuple):
    """Why this process is ended or replaced."""

    reason: Reason
    text: str
    """`rolling restart by SIGHUP`, `killed by the monitor`: as in the log and in the table of workers."""
