"""The columns of the table of endpoints, for the monitor and `faucet ctl`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from faucet.status.columns import format_age
from faucet.status.snapshot import EndpointRow
from faucet.text import visible
from faucet.units import counted, format_duration


class EndpointColumn(NamedTuple):
    """One column."""

    id: str
    title: str
    width: int
    """Characters; 0: the rest of the line."""
    text: Callable[[EndpointRow], str]
    order: Callable[[EndpointRow], Any]
    """The sort key: names in ascending order, numbers in descending order."""
    right: bool = True


LEAST_ENDPOINT = 22
"""Least width of the ENDPOINT column, in characters. Other columns are hidden until it fits."""

DROPPED_FIRST = ("slowest", "p50", "rps", "requests", "waited", "bar")
"""Columns that a narrow terminal hides, in this order."""

BAR = 20


def _seconds(value: float) -> str:
    return format_duration(value) if value else "-"


def bar(share: float, width: int, plain: bool) -> str:
    """Return a share (0 to 1) as a bar of at most `width` characters. A share above 0 is never an empty bar."""
    if plain:
        return "#" * max(round(share * width), int(share > 0))
    eighths = max(round(share * width * 8), int(share > 0))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def endpoint_columns(width: int | None = None, ascii_only: bool = False) -> tuple[EndpointColumn, ...]:
    """Return the columns that fit into `width` characters, separated by one blank; all columns if `width` is None."""
    shown: tuple[EndpointColumn, ...] = (
        EndpointColumn("endpoint", "ENDPOINT", 0, lambda r: visible(r.endpoint), lambda r: r.endpoint, right=False),
        EndpointColumn("requests", "REQS", 7, lambda r: str(r.requests), lambda r: -r.requests),
        EndpointColumn("rps", "RPS", 5, lambda r: f"{r.rps:.0f}" if r.rps >= 100 else f"{r.rps:.1f}",
                       lambda r: -r.rps),
        EndpointColumn("p50", "P50", 6, lambda r: _seconds(r.p50), lambda r: -r.p50),
        EndpointColumn("p95", "P95", 6, lambda r: _seconds(r.p95), lambda r: -r.p95),
        EndpointColumn("slowest", "MAX", 6, lambda r: _seconds(r.slowest), lambda r: -r.slowest),
        EndpointColumn("waited", "QUEUED", 6, lambda r: _seconds(r.waited), lambda r: -r.waited),
        EndpointColumn("errors", "5XX", 5, lambda r: str(r.errors), lambda r: -r.errors),
        EndpointColumn("share", "SHARE", 6, lambda r: f"{r.share:.1%}", lambda r: -r.share),
        EndpointColumn("bar", "OF ALL LOCK TIME", BAR, lambda r: bar(r.share, BAR, ascii_only), lambda r: -r.share,
                       right=False),
    )  # fmt: skip
    for name in DROPPED_FIRST:
        if width is None or sum(column.width + 1 for column in shown) + LEAST_ENDPOINT <= width:
            break
        shown = tuple(column for column in shown if column.id != name)
    return shown


def counted_in(seconds: float, uncounted: int) -> str:
    """Return the period that the figures cover, and the number of uncounted requests, as text."""
    text = f"the last {format_age(seconds)}"
    return f"{text}; {counted(uncounted, 'request')} since the start came too fast to be counted" if uncounted else text
