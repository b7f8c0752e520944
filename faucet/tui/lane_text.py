"""The texts of lock lanes: labels, times, and the selected item."""

from __future__ import annotations

from math import inf

from faucet.status.columns import format_age
from faucet.status.format import clock
from faucet.status.snapshot import RequestRow, WorkerRow
from faucet.text import visible
from faucet.tui.holds import Hold, Mark
from faucet.tui.time_axis import time_axis
from faucet.units import format_duration

TICKS = (1, 2, 5, 10, 30, 60, 120, 300)
"""Seconds between two times on the axis."""

CELLS_PER_TICK = 14

LABEL = 10
"""Most characters of a worker's name. Of a pod's name the end is kept, since it is unique."""


def label_of(name: str) -> str:
    """Return the short name of a worker."""
    return name if name.rstrip("+-").isdecimal() else name[-LABEL:]


def axis_text(first: int, width: int, step: float) -> str:
    """Return the time axis of `width` cells of `step` seconds, from number `first` on."""
    return time_axis(first, width, step, TICKS, CELLS_PER_TICK)


def now_text(hold: Hold) -> str:
    """Return the request that holds a lock now, after its age, which must stay visible when the text is cut."""
    request = hold.item.request if isinstance(hold.item, WorkerRow) else ""
    gone = ", client gone" if hold.left < hold.end else ""
    return f"{format_age(hold.end - hold.start):>6} {visible(request)}{gone}"


def describe_item(item: Hold | Mark, now: float) -> str:
    """Return the selected item as one line."""
    if isinstance(item, Mark):
        return f"{clock(item.when)} {visible(item.item.text)}"
    row = item.item
    if not isinstance(row, RequestRow):
        gone = f", client left {format_age(now - item.left)} ago" if item.left < inf else ""
        return f"{visible(row.request)} {format_age(now - item.start)}{gone}"
    waited = f", queued {format_duration(row.waited)}" if row.waited >= 0.001 else ""
    held = f" ({format_duration(item.end - item.left)} after its client left)" if item.left < item.end else ""
    note = f"  {visible(row.note)}" if row.note else ""
    return (
        f"{clock(item.start)} {row.status} {row.method} {visible(row.target)}  "
        f"{format_duration(row.service)}{held}{waited}, {row.client}{note}"
    )
