"""The endpoint of a request: its method and its path, where numbers, dates and ids are replaced by placeholders.

Clients choose paths, so the length of an endpoint is bounded, and control characters are escaped for the terminal.
"""

from __future__ import annotations

import re
from functools import lru_cache

from faucet.text import visible

SEGMENTS = 6
"""Path segments that are kept; any further segments become `...`."""

LENGTH = 60
"""Longest endpoint, in characters."""

HAS_DIGIT = re.compile(r"\d")
"""Matches every segment that a placeholder may replace: a cheap test before PLACEHOLDERS are tried."""

PLACEHOLDERS = (
    ("<n>", re.compile(r"[+-]?\d+(?:[.,]\d+)*")),
    ("<date>", re.compile(r"\d{4}-\d\d-\d\d(?:[T_ ].*)?")),
    ("<uuid>", re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)),
    ("<hex>", re.compile(r"(?=.*\d)[0-9a-f]{8,}", re.IGNORECASE)),
    ("<id>", re.compile(r"(?=.*\d)[\w.~=%:-]{20,}")),
)
"""Placeholders and the patterns of the segments they replace, tried in this order. A pattern must match in full."""


def endpoint_of(method: str, target: str) -> str:
    """Return the endpoint of a request: `GET /sales/<n>` for `GET /sales/17?full=1`."""
    return _folded(method[:20], target.partition("?")[0][:500])


@lru_cache(maxsize=2048)
def _folded(method: str, path: str) -> str:
    parts = path.partition("#")[0].split("/")
    kept = [_segment(part) if HAS_DIGIT.search(part) else part for part in parts[: SEGMENTS + 1]]
    if len(parts) > SEGMENTS + 1:
        kept.append("...")
    text = visible(f"{method} {'/'.join(kept)}")
    return text if len(text) <= LENGTH else text[: LENGTH - 3] + "..."


def _segment(text: str) -> str:
    if text.isdecimal():
        return "<n>"  # the most frequent case, without the cost of a pattern (a microsecond)
    return next((name for name, pattern in PLACEHOLDERS if pattern.fullmatch(text)), text)
