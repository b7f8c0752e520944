"""Times in snapshots: readings of the monotonic clock as seconds since the epoch, and the window of the figures.

In a file of its own, since `faucet ctl` needs these and nothing else of what makes snapshots.
"""

from __future__ import annotations

from time import monotonic, time

EPOCH = time() - monotonic()
"""Seconds since the epoch at which the monotonic clock read 0."""

WINDOW = 60.0
"""Default window of the figures, in seconds."""


def epoch(moment: float) -> float:
    """Return a reading of the monotonic clock as seconds since the epoch, to the hundredth; stable for one reading."""
    return round(EPOCH + moment, 2)


def moment(reading: float | None) -> float:
    """Return `epoch(reading)`, or 0 for None: in snapshots, 0 means that an event has not happened."""
    return 0.0 if reading is None else epoch(reading)
