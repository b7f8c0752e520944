"""How R, Plumber and Python begin an error, on any stream: Plumber prints those of endpoints to standard output."""

from __future__ import annotations

import re

_ERROR = re.compile(
    r"\s*(<\w*[Ee]rror\b|Error\b( in\b| ?:)|Caused by error\b|Execution halted|Traceback \(most recent)"
)

_MESSAGE = re.compile(r"<?(\w*[Ee]rror)(?: in .*[)`])? ?:[ !]*(.+?)>?")

UNFINISHED = (":", " in")
"""How the first line of an error ends, if its message follows in the next."""

HALTED = "Execution halted"
"""What R writes after the error that ended it."""


def is_error(text: str) -> bool:
    """Return whether a line of a worker's output begins an error."""
    return _ERROR.match(text) is not None


def gist(text: str) -> str:
    """Return the message of an error of R without the call that it came from, which may be a whole function."""
    match = _MESSAGE.fullmatch(text.strip())
    return f"{match[1]}: {match[2]}" if match else text.strip()
