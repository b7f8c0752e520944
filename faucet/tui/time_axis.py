"""The time axis of lock lanes and heat maps: round times of day over the cells that begin then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime


def time_axis(first: int, width: int, step: float, ticks: Sequence[int], cells_per_tick: int) -> str:
    """Return the axis of `width` cells of `step` seconds, from number `first` on, one character each.

    The distance of two times is the shortest of `ticks`, in seconds, that leaves `cells_per_tick` cells to each.
    """
    every = next((tick for tick in ticks if tick >= step * cells_per_tick), ticks[-1])
    cells = [" "] * width
    offset = _offset(first * step)
    moment = int((first * step + offset) // every + 1) * every - offset
    while (place := int(moment / step) - first) < width:
        text = datetime.fromtimestamp(moment).strftime("%H:%M" if every >= 60 else "%H:%M:%S")
        if 0 <= place <= width - len(text) - 4:
            cells[place : place + len(text)] = text
        moment += every
    if width >= 4:
        cells[-3:] = "now"
    return "".join(cells)


def _offset(moment: float) -> int:
    """Return how far the local time is ahead of UTC then, in seconds: hours are round by the local time."""
    offset = datetime.fromtimestamp(moment).astimezone().utcoffset()
    return 0 if offset is None else int(offset.total_seconds())
