"""Hides the values of query parameters that hold secrets, in all that is written: `GET /x?token=***`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "***"
"""What is written in place of a value."""


def redactor(names: Iterable[str]) -> Callable[[str], str] | None:
    """Return a function that hides the values of the query parameters `names` in a line; None without names.

    A line is a whole one of the log: the parameter may be in a request's target, in a message that quotes one, or in
    what a worker prints of it. Letters may be of either case. A value ends where RFC 3986 ends it, or at a quote.
    """
    choice = "|".join(re.escape(name) for name in names if name)
    if not choice:
        return None
    pattern = re.compile(rf"([?&;](?:{choice})=)[^\s&;#\"'\\]+", re.IGNORECASE)
    return lambda line: pattern.sub(rf"\g<1>{HIDDEN}", line) if "=" in line else line
