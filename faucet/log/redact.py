"""Hides the values of query parameters that contain secrets, in every line of the log: `GET /x?token=***`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "***"
"""What is written in place of a value."""


def redactor(names: Iterable[str]) -> Callable[[str], str] | None:
    """Return a function that hides the values of the query parameters `names` in a line; None without names.

    It is applied to whole lines of the log, since the parameter may be in the target of a request, in a message, or in
    a worker's output. Names are matched in upper and lower case. A value ends where RFC 3986 ends it, or at a quote.
    """
    choice = "|".join(re.escape(name) for name in names if name)
    if not choice:
        return None
    pattern = re.compile(rf"([?&;](?:{choice})=)[^\s&;#\"'\\]+", re.IGNORECASE)
    return lambda line: pattern.sub(rf"\g<1>{HIDDEN}", line) if "=" in line else line
