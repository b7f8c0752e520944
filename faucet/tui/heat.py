"""The layout of heat maps: how many requests took how long, and when. Pure functions from history rows to levels.

Columns begin at whole multiples of their duration, so that past columns do not change as time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil, floor, inf, log
from typing import NamedTuple

from faucet.status.history import HEAT_BOUNDS, STEP
from faucet.status.snapshot import HistoryRow

SPANS = (300.0, 900.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
"""Durations of a heat map, in seconds. The first two are built from slices of STEP seconds, the others from minutes."""

BY_THE_MINUTE = 60

LEVELS = 4
"""Highest level of a cell. Level 0 is an empty cell."""

HEATS = tuple(f"heat--{level}" for level in range(1, LEVELS + 1))
"""Component classes of the levels, from cool to hot. `monitor.tcss` defines their colours."""

Heat = Callable[[HistoryRow], tuple[int, ...]]
"""Selects the counts of a row that are shown, in the form of `history.heat_of`."""


def step_of(span: float) -> int:
    """Return the duration of the history rows for a span, in seconds."""
    return STEP if span <= SPANS[1] else BY_THE_MINUTE


class Columns(NamedTuple):
    """The columns of a span, each with its rows of the history."""

    first: int
    """The number of the first column, which begins `first * seconds` after the epoch."""
    seconds: float
    rows: list[list[HistoryRow]]

    def start(self, index: int) -> float:
        """Return when a column begins, in seconds since the epoch."""
        return (self.first + index) * self.seconds


def columns_of(rows: Iterable[HistoryRow], span: float, now: float, width: int) -> Columns:
    """Lay out the rows of the last `span` seconds in at most `width` columns, each with a whole number of rows."""
    step = step_of(span)
    seconds = step * max(ceil(span / step / max(width, 1)), 1)
    count = ceil(span / seconds)
    first = floor(now / seconds) - count + 1
    columns: list[list[HistoryRow]] = [[] for _ in range(count)]
    for row in rows:
        index = floor(row.when / seconds) - first
        if 0 <= index < count:
            columns[index].append(row)
    return Columns(first, seconds, columns)


class HeatMap(NamedTuple):
    """Levels by line and column. The first line has the slowest requests."""

    lines: list[list[int]]
    bounds: list[tuple[float, float]]
    """The range of durations of each line: above the first number, up to and including the second."""


def heat_map(columns: Sequence[Sequence[HistoryRow]], heat: Heat, height: int) -> HeatMap:
    """Return a heat map of at most `height` lines. Its range is from the quickest to the slowest request."""
    counts = [_counts(rows, heat) for rows in columns]
    seen = [bucket for column in counts for bucket in column]
    if not seen or height < 1:
        return HeatMap([], [])
    low, high = min(seen), max(seen)
    merged = ceil((high - low + 1) / height)
    repeated = max(height // ceil((high - low + 1) / merged), 1)
    starts = range(low, high + 1, merged)
    sums = [[sum(column.get(bucket, 0) for bucket in range(start, start + merged)) for column in counts]
            for start in starts]  # fmt: skip
    most = max(map(max, sums))
    lines = [[level(count, most) for count in line] for line in sums for _ in range(repeated)]
    bounds = [
        (_bound(start - 1), _bound(min(start + merged, high + 1) - 1)) for start in starts for _ in range(repeated)
    ]
    return HeatMap(lines[::-1], bounds[::-1])


def _counts(rows: Sequence[HistoryRow], heat: Heat) -> dict[int, int]:
    """Return the sum of the counts of all rows, by bucket."""
    counts: dict[int, int] = {}
    for row in rows:
        if values := heat(row):
            for bucket, count in enumerate(values[1:], values[0]):
                if count:
                    counts[bucket] = counts.get(bucket, 0) + count
    return counts


def _bound(bucket: int) -> float:
    return 0.0 if bucket < 0 else HEAT_BOUNDS[bucket] if bucket < len(HEAT_BOUNDS) else inf


def level(count: int, most: int) -> int:
    """Return the level of a count. The scale is logarithmic, so that few slow requests show beside many quick ones."""
    return 0 if count < 1 else min(1 + int((LEVELS - 1) * log(count) / log(most) + 0.5) if most > 1 else LEVELS, LEVELS)


DECADES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
NAMES = ("1ms", "10ms", "100ms", "1s", "10s", "100s")


def labels(bounds: Sequence[tuple[float, float]], per_row: int) -> list[str]:
    """Return the label of each row of `per_row` lines: a power of ten in its range, 0 for no wait, or an empty text."""
    texts = []
    for index in range(0, len(bounds), per_row):
        lines = bounds[index : index + per_row]
        low, high = min(line[0] for line in lines), max(line[1] for line in lines)
        found = [name for name, value in zip(NAMES, DECADES, strict=True) if low < value <= high]
        texts.append(found[-1] if found else "0" if low == 0 else "")
    return texts


class Summary(NamedTuple):
    """The figures of one column, or of all columns."""

    requests: int
    errors: int
    refused: int
    locked: int
    waiting: int
    p50: tuple[float, float]
    p95: tuple[float, float]
    longest: float
    waited95: tuple[float, float]
    longest_wait: float
    """All durations are in seconds. Quantiles of one row are exact; those of several lie between the two numbers."""


def summary(rows: Sequence[HistoryRow]) -> Summary:
    """Return the summary of rows, at least one."""
    served = [row for row in rows if row.slowest] or list(rows)
    return Summary(
        requests=sum(row.requests for row in rows),
        errors=sum(row.errors for row in rows),
        refused=sum(row.refused for row in rows),
        locked=max(row.locked for row in rows),
        waiting=max(row.waiting for row in rows),
        p50=_range(row.p50 for row in served),
        p95=_range(row.p95 for row in served),
        longest=max(row.slowest for row in rows),
        waited95=_range(row.waited95 for row in rows),
        longest_wait=max(row.longest for row in rows),
    )


def _range(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)
