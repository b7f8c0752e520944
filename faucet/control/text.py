"""Text from outside, made fit for a terminal: it must show what was said, and must not steer anything."""

from __future__ import annotations

import re
from datetime import datetime

from faucet.snapshot import LogRow, RequestRow
from faucet.units import format_duration, format_size

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def visible(text: str) -> str:
    """Without colours, tabs as spaces, and any other control or direction character as its code."""
    text = _COLOURS.sub("", text) if "\x1b" in text else text
    text = text.replace("\t", "    ")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


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
