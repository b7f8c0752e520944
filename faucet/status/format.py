"""Text from outside, made fit for a terminal: it must show what was said, and must not steer anything."""

from __future__ import annotations

from datetime import datetime

from faucet.status.snapshot import LogRow, RequestRow
from faucet.units import format_duration, format_size


def clock(when: float) -> str:
    """`12:04:01.259`, local time."""
    return datetime.fromtimestamp(when).strftime("%H:%M:%S.%f")[:-3]


def log_prefix(row: LogRow) -> str:
    """Where a line is from: `worker 2 out | `, `warning: `."""
    if row.source in ("out", "err"):
        return f"worker {row.worker} {row.source} | "
    return "" if row.source == "info" else f"{row.source}: "


def request_text(row: RequestRow) -> str:
    """One exchange, in the order of importance for who watches many of them."""
    text = (
        f"{row.status} {row.method} {row.target} {format_duration(row.service)} "
        f"q={format_duration(row.waited)} {format_size(row.sent)}"
    )
    return f"{text} ({row.note})" if row.note else text
