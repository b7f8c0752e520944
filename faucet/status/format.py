"""Log lines and requests as text, shared by `faucet ctl` and the monitor."""

from __future__ import annotations

from datetime import datetime

from faucet.status.columns import format_age
from faucet.status.snapshot import LogRow, Notice, RequestRow
from faucet.units import format_duration, format_size


def clock(when: float) -> str:
    """Return the local time of `when` (seconds since the epoch) as `12:04:01.259`."""
    return datetime.fromtimestamp(when).strftime("%H:%M:%S.%f")[:-3]


def log_prefix(row: LogRow) -> str:
    """Return the prefix that names the source of a line: `worker 2 out | `, `warning: `, or nothing."""
    if row.source in ("out", "err"):
        return f"worker {row.worker} {row.source} | "
    return "" if row.source == "info" else f"{row.source}: "


def notice_line(notice: Notice, now: float, ascii_only: bool) -> str:
    """Return a notice as one line: a symbol for its level, its text, and its age."""
    sign = "x" if ascii_only else "✖"
    return f"{sign if notice.level == 'error' else '!'} {notice.text} (for {format_age(now - notice.since)})"


def request_text(row: RequestRow) -> str:
    """Return one request as a line: status, method, target, service time, queue time, bytes sent, and any note."""
    text = (
        f"{row.status} {row.method} {row.target} {format_duration(row.service)} "
        f"q={format_duration(row.waited)} {format_size(row.sent)}"
    )
    return f"{text} ({row.note})" if row.note else text


def format_span(seconds: float) -> str:
    """Return a span of time in its largest unit: `15s`, `2m`, `24h`; 90 seconds are `90s`."""
    for name, unit in (("h", 3600), ("m", 60)):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f}{name}"
    return f"{seconds:.0f}s"
