"""The layout of lock lanes. Pure functions from holds and a window to cells.

Cells begin at whole multiples of their duration, so that past cells do not change as time passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import floor

from faucet.tui.holds import Hold

SPANS = (15.0, 60.0, 120.0, 300.0, 900.0)
"""Durations of the window, in seconds."""


@dataclass(slots=True)
class LaneCell:
    """One cell: for how long the lock was held in it, and the hold with the largest part."""

    held: float
    """Seconds for which the lock was held."""
    longest: float
    """The part of `hold`, in seconds."""
    hold: Hold
    holds: int
    """Number of holds in the cell."""

    def add(self, seconds: float, hold: Hold) -> None:
        """Add the part of a further hold."""
        self.held += seconds
        self.holds += 1
        if seconds >= self.longest:
            self.longest, self.hold = seconds, hold


def parts_of(hold: Hold, step: float, first: int, last: int | None = None) -> Iterator[tuple[int, float]]:
    """Return the cells from `first` to `last` that a hold covers, and its seconds in each. A cell is `step` seconds."""
    ends_in = floor(hold.end / step)
    for index in range(max(floor(hold.start / step), first), min(ends_in, ends_in if last is None else last) + 1):
        seconds = min(hold.end, (index + 1) * step) - max(hold.start, index * step)
        if seconds > 0:
            yield index, seconds


class Lanes:
    """The cells of all workers, for one duration of a cell. Each hold is laid out once."""

    def __init__(self, step: float) -> None:
        self.step = step
        self._lanes: dict[str, dict[int, LaneCell]] = {}

    def add(self, holds: Iterable[Hold], keep: int) -> None:
        """Add finished holds. Cells before number `keep` are left out."""
        for hold in holds:
            cells = self._lanes.setdefault(hold.worker, {})
            for index, seconds in parts_of(hold, self.step, keep):
                _add(cells, index, seconds, hold)

    def prune(self, keep: int) -> None:
        """Drop the cells before number `keep`."""
        for worker, cells in list(self._lanes.items()):
            for index in [index for index in cells if index < keep]:
                del cells[index]
            if not cells:
                del self._lanes[worker]

    def row(self, worker: str, first: int, width: int, held: Iterable[Hold] = ()) -> list[LaneCell | None]:
        """Return `width` cells of a worker from number `first` on, including locks `held` now. None: an idle cell."""
        cells = self._lanes.get(worker, {})
        row = {index: cells[index] for index in range(first, first + width) if index in cells}
        for hold in held:
            for index, seconds in parts_of(hold, self.step, first, first + width - 1):
                before = row.get(index)
                if before is not None:
                    row[index] = LaneCell(before.held, before.longest, before.hold, before.holds)
                _add(row, index, seconds, hold)
        return [row.get(index) for index in range(first, first + width)]


def _add(cells: dict[int, LaneCell], index: int, seconds: float, hold: Hold) -> None:
    cell = cells.get(index)
    if cell is None:
        cells[index] = LaneCell(seconds, seconds, hold, 1)
    else:
        cell.add(seconds, hold)


def phase(hold: Hold, middle: float, slow: float) -> str:
    """Return the kind of a hold at a moment: `left` (the client is gone), `slow` (held longer than `slow`), or ``."""
    if middle > hold.left:
        return "left"
    return "slow" if middle - hold.start > slow else ""


RISING, ENDING = " ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█"
ASCII_RISING = " .:-=+*##"
FULL = {"": "█", "slow": "▓", "left": "░"}
ASCII_FULL = {"": "#", "slow": "!", "left": "/"}


def glyph(cell: LaneCell, index: int, step: float, kind: str, plain: bool) -> str:
    """Return the character of a cell: a full block if one hold covers it, an edge if a single hold begins or ends in
    it, otherwise a bar whose height is the share of the time for which the lock was held."""
    eighths = min(max(round(cell.held / step * 8), 1), 8)
    if cell.holds > 1:
        eighths = min(eighths, 7)  # a notch separates two holds
    elif eighths == 8:
        return (ASCII_FULL if plain else FULL)[kind]
    begins, ends = cell.hold.start > index * step, cell.hold.end < (index + 1) * step
    if cell.holds > 1 or begins == ends:
        return (ASCII_RISING if plain else RISING)[eighths]
    if plain:
        return "[" if begins else "]"
    return ("▕" if eighths < 3 else "▐") if begins else ENDING[eighths]
