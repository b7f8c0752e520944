"""The columns of the worker table: the same for `faucet ctl` and the monitor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faucet.status.snapshot import WorkerRow
from faucet.status.usage import Usage
from faucet.units import format_duration, format_size

GLYPHS = {
    "ready": "○", "busy": "●", "starting": "◌", "draining": "▽", "backoff": "↻", "failed": "✖", "held": "‖",
}  # fmt: skip

ASCII_GLYPHS = {
    "ready": "o", "busy": "*", "starting": ".", "draining": "v", "backoff": "@", "failed": "x", "held": "=",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One worker, with what the columns need to format it."""

    row: WorkerRow
    now: float
    usage: Usage | None
    ascii_only: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and how to format and sort its cells."""

    id: str
    title: str
    width: int
    """Usual width in characters; 0: the rest of the line."""
    text: Callable[[Cell], str]
    order: Callable[[Cell], Any]
    """The sort key."""
    right: bool = True


def _age(moment: float, now: float) -> str:
    return format_age(now - moment) if moment else "-"


def format_age(seconds: float) -> str:
    """Return a duration in at most seven characters: `87ms`, `1.24s`, `31.0s`, `11m04s`, `2h13m`, `3d04h`."""
    if seconds < 60:
        return format_duration(max(seconds, 0)) if seconds < 9.995 else f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{rest:02d}s"
    days, hours_left = divmod(hours, 24)
    return f"{days}d{hours_left:02d}h" if days else f"{hours}h{minutes_left:02d}m"


def _state(cell: Cell) -> str:
    glyphs = ASCII_GLYPHS if cell.ascii_only else GLYPHS
    return f"{glyphs.get(cell.row.state, '?')} {cell.row.state}"


def format_latency(seconds: float | None) -> str:
    """Return a quantile of durations as text; `-` for None, the value before the first request."""
    return "-" if seconds is None else format_duration(seconds)


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"


def _size(size: int) -> str:
    return format_size(size) if size else "-"


def _used(cell: Cell) -> Usage:
    return cell.usage or Usage(0.0, 0)


def _name_order(cell: Cell) -> Any:
    """Return the sort key for names: by number, and a starting or draining process (`2+`) after the one in service."""
    number = cell.row.name.rstrip("+-")
    return (0, int(number), cell.row.key) if number.isdecimal() else (1, number, cell.row.key)


COLUMNS = (
    Column("name", "#", 3, lambda c: c.row.name, _name_order),
    Column("state", "STATE", 10, _state, lambda c: c.row.state, right=False),
    Column("pid", "PID", 7, lambda c: str(c.row.pid or "-"), lambda c: c.row.pid),
    Column("port", "PORT", 5, lambda c: str(c.row.port or "-"), lambda c: c.row.port),
    Column("lock", "LOCK", 7, lambda c: _age(c.row.locked, c.now), lambda c: c.row.locked or c.now + 1),
    Column("request", "REQUEST", 0, lambda c: c.row.request or c.row.reason, lambda c: c.row.request, right=False),
    Column("requests", "REQS", 7, lambda c: str(c.row.requests), lambda c: -c.row.requests),
    Column("rps", "RPS", 5, lambda c: _rate(c.row.rps), lambda c: -c.row.rps),
    Column("p50", "P50", 6, lambda c: format_latency(c.row.p50), lambda c: -(c.row.p50 or 0.0)),
    Column("p95", "P95", 6, lambda c: format_latency(c.row.p95), lambda c: -(c.row.p95 or 0.0)),
    Column("errors", "ERR", 4, lambda c: str(c.row.errors), lambda c: -c.row.errors),
    Column("cpu", "CPU", 5, lambda c: f"{c.usage.cpu:.0f}%" if c.usage else "-",
           lambda c: -c.usage.cpu if c.usage else 1.0),
    Column("rss", "RSS", 7, lambda c: format_size(c.usage.rss) if c.usage else "-",
           lambda c: -c.usage.rss if c.usage else 1),
    Column("restarts", "RST", 3, lambda c: str(c.row.restarts), lambda c: -c.row.restarts),
    Column("up", "UP", 6, lambda c: _age(c.row.since, c.now), lambda c: c.row.since),
)  # fmt: skip

PRELOAD_COLUMNS = tuple(
    other
    for column in COLUMNS
    for other in (
        [
            Column("pss", "PSS", 7, lambda c: _size(_used(c).pss), lambda c: -_used(c).pss),
            Column("uss", "USS", 7, lambda c: _size(_used(c).uss), lambda c: -_used(c).uss),
        ]
        if column.id == "rss"
        else [column]
    )
)
"""Columns for workers that share memory: PSS and USS replace RSS, which counts shared memory once for each worker."""

_OURS = {"name", "pid", "port", "cpu", "rss", "restarts"}
"""Columns about processes on this machine."""

POD_COLUMNS = (
    Column("name", "POD", 26, lambda c: c.row.name, _name_order, right=False),
    *(column for column in COLUMNS if column.id not in _OURS),
    Column("address", "ADDRESS", 21, lambda c: c.row.address, lambda c: c.row.address, right=False),
)  # fmt: skip


ALL_COLUMNS = (*COLUMNS, *PRELOAD_COLUMNS, *POD_COLUMNS)


def columns_of(mode: str) -> tuple[Column, ...]:
    """Return all columns for workers of the kind `mode`: `local`, `preload` or `k8s`."""
    return {"local": COLUMNS, "preload": PRELOAD_COLUMNS}.get(mode, POD_COLUMNS)
