"""Strips of styled text, which the monitor's widgets draw, and the names of their colours (paints)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

LANES = tuple(f"lane{number}" for number in range(6))
"""Paints of endpoints. Red is not among them, since it marks problems."""

PAINTS = frozenset(
    f"paint--{name}"
    for name in ("text", "dim", "title", "strong", "ready", "busy", "starting", "draining", "backoff", "failed", "held",
                 "ok", "warning", "error", "cursor", "blurred", "match", "spark", "banner", *LANES)
)  # fmt: skip
"""Component classes of a screen with painted widgets. `monitor.tcss` defines their colours."""

FOOTER = ("footer--key", "footer--text", "footer--hover")
"""Component classes of the footer."""

Part = tuple[str, Style]


def ascii_only() -> bool:
    """Return whether to draw only ASCII: if FAUCET_ASCII is set, or the terminal's encoding is not UTF-8."""
    if os.environ.get("FAUCET_ASCII", "") not in ("", "0"):
        return True
    return (getattr(sys.__stdout__, "encoding", "") or "").lower().replace("-", "") != "utf8"


def strip_of(parts: Sequence[Part], width: int, base: Style) -> Strip:
    """Return one line of exactly `width` cells: cut, or padded in style `base`."""
    strip = Strip([Segment(text, style) for text, style in parts if text])
    return strip.adjust_cell_length(width, base)


def over(strip: Strip, style: Style) -> Strip:
    """Return `strip` with the background of `style` instead of its own."""
    ground = Style(bgcolor=style.bgcolor, reverse=style.reverse)
    return Strip([Segment(text, (own or Style()) + ground) for text, own, _ in strip], strip.cell_length)


def fit(text: str, width: int, right: bool = False, plain: bool = False) -> str:
    """Return `text` in exactly `width` cells: padded, or cut with an ellipsis (`~` if `plain`)."""
    length = cell_len(text)
    if length <= width:
        return " " * (width - length) + text if right else text + " " * (width - length)
    if width < 2:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + ("~" if plain else "…")


BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.:-=+*#"


def sparkline(values: Sequence[float], width: int, plain: bool) -> str:
    """Return `values` as bars, the newest at the right. If there are too many, show the largest of neighbours."""
    bars = ASCII_BARS if plain else BARS
    if not values or width < 1:
        return ""
    shown = _resampled(values, width) if len(values) > width else list(values)
    top = max(shown) or 1.0
    return "".join(bars[min(int(value / top * len(bars)), len(bars) - 1)] for value in shown)


def _resampled(values: Sequence[float], width: int) -> list[float]:
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    return [max(values[start:end]) for start, end in pairwise(edges)]
