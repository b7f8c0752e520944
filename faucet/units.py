"""Durations and sizes as people write them: `500ms`, `30s`, `5m`; `64KiB`, `1MiB`."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)?")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMG]i?B|B)?", re.IGNORECASE)
_SIZE_UNITS = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def parse_duration(text: str) -> float:
    """Seconds. A number without a unit is seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"invalid duration {text!r}; expected one like 500ms, 30s, 5m or 1h")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(text: str) -> int:
    """Bytes. A number without a unit is bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    unit = (match[2] or "B").lower() if match else ""
    if match is None or (unit == "b" and "." in match[1]):
        raise ValueError(f"invalid size {text!r}; expected one like 500, 64KiB, 1MiB or 2GiB")
    return int(float(match[1]) * _SIZE_UNITS[unit])


STOP_SIGNALS = ("INT", "TERM", "QUIT", "HUP", "USR1", "USR2")
"""Signals that a program can be asked to end with."""


def parse_stop_signal(text: str) -> str:
    """`INT` of `SIGINT`, `int` or `INT`; `auto`. Raises ValueError."""
    name = text.strip().upper().removeprefix("SIG")
    if name == "AUTO":
        return "auto"
    if name not in STOP_SIGNALS:
        raise ValueError(f"invalid signal {text!r}; expected auto, or one of {', '.join(STOP_SIGNALS)}")
    return name


def format_duration(seconds: float) -> str:
    """The shortest text that tells: `0.2ms`, `87ms`, `1.24s`, `31s`, `5m`."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f}ms".replace(".0ms", "ms")
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 120:
        return f"{seconds:.3g}s"
    return f"{seconds / 60:.3g}m"


def format_size(size: int) -> str:
    """The shortest text that tells: `312B`, `4.1KiB`, `8MiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g}{unit}" if unit == "B" else f"{value:.3g}{unit}"
        value /= 1024
    return f"{value:.3g}GiB"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 worker`, `3 workers`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
