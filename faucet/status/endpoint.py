"""The endpoint of a request: its method and its path, with parts that name one thing (a number, an id) folded.

Clients choose paths, so what is made of them is bounded in length, and harmless in a terminal.
"""

from __future__ import annotations

import re
from functools import lru_cache

from faucet.text import visible

SEGMENTS = 6
"""Segments of a path that are told apart; what follows becomes `...`."""

LENGTH = 60
"""Characters of an endpoint at most."""

HAS_DIGIT = re.compile(r"\d")
"""What every segment that is folded has."""

PLACEHOLDERS = (
    ("<n>", re.compile(r"[+-]?\d+(?:[.,]\d+)*")),
    ("<date>", re.compile(r"\d{4}-\d\d-\d\d(?:[T_ ].*)?")),
    ("<uuid>", re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)),
    ("<hex>", re.compile(r"(?=.*\d)[0-9a-f]{8,}", re.IGNORECASE)),
    ("<id>", re.compile(r"(?=.*\d)[\w.~=%:-]{20,}")),
)
"""What stands for a segment that matches one of these as a whole, tried in this order."""


def endpoint_of(method: str, target: str) -> str:
    """Return the endpoint that a request asks for: `GET /sales/<n>` for `GET /sales/17?full=1`."""
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
        return "<n>"  # most of them; a pattern takes a microsecond
    return next((name for name, pattern in PLACEHOLDERS if pattern.fullmatch(text)), text)
