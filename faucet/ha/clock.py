"""The clock of terms: it also runs while the machine is suspended, and cannot be set."""

from __future__ import annotations

import time

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return the reading of the clock in seconds. Only differences between readings are meaningful."""
    return time.clock_gettime(_CLOCK)
