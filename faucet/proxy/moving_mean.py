"""The moving mean of durations from which Faucet tells clients how long they may have to wait."""

from __future__ import annotations

WEIGHT = 0.1
"""Weight of the latest duration."""


def moved(mean: float, latest: float) -> float:
    """Return `mean` after one more duration. A mean of 0 is one of no durations yet: it becomes the latest."""
    return mean + WEIGHT * (latest - mean) if mean else latest
