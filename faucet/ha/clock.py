"""The clock of terms: it also runs while the machine is suspended, and nobody can set it."""

from __future__ import annotations

import time

_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return its reading in seconds; only differences mean something."""
    return time.clock_gettime(_CLOCK)
