"""The texts of heat maps: titles, times, and the figures of a column."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from faucet.status.snapshot import HistoryRow
from faucet.tui.heat import summary
from faucet.tui.time_axis import time_axis
from faucet.units import counted, format_duration

TICKS = (60, 120, 300, 600, 1800, 3600, 7200, 4 * 3600, 6 * 3600)
"""Seconds between two times on the axis."""

COLUMNS_PER_TICK = 10


def times_text(first: int, count: int, seconds: float) -> str:
    """Return the time axis of `count` columns of `seconds`, from number `first` on."""
    return time_axis(first, count, seconds, TICKS, COLUMNS_PER_TICK)


def title_of(title: str, rows: Sequence[HistoryRow], waiting: bool) -> str:
    """Return the title of a map, with its p95 and its longest duration."""
    if not rows:
        return title
    found = summary(rows)
    p95, longest = (found.waited95, found.longest_wait) if waiting else (found.p95, found.longest)
    return f"{title}  p95 up to {_seconds(p95[1])}, longest {_seconds(longest)}"


def _seconds(value: float) -> str:
    return format_duration(value) if value else "0"


def _between(pair: tuple[float, float]) -> str:
    low, high = (_seconds(value) for value in pair)
    return low if low == high else f"{low} to {high}"


def describe(start: float, seconds: float, rows: Sequence[HistoryRow]) -> str:
    """Return the figures of a column as one line."""
    form = "%H:%M:%S" if seconds % 60 else "%H:%M"
    times = f"{datetime.fromtimestamp(start):{form}} to {datetime.fromtimestamp(start + seconds):{form}}"
    if not rows:
        return f"{times}  no data"
    found = summary(rows)
    if not found.requests:
        return f"{times}  no requests"
    failed = f", {found.errors} failed" if found.errors else ""
    refused = f", {found.refused} refused" if found.refused else ""
    return (
        f"{times}  {counted(found.requests, 'request')}{failed}{refused}  p95 {_between(found.p95)}, "
        f"longest {_seconds(found.longest)}  queued p95 {_between(found.waited95)}, longest "
        f"{_seconds(found.longest_wait)}, {found.waiting} at once  busy {found.locked}"
    )
