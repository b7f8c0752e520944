"""How R, Plumber and Python begin an error, on any stream: Plumber prints those of endpoints to standard output."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ERROR = re.compile(
    r"\s*(<\w*[Ee]rror\b|Error\b( in\b| ?:)|Caused by error\b|Execution halted|Traceback \(most recent)"
)

_MESSAGE = re.compile(r"<?(\w*[Ee]rror)(?: in .*[)`])? ?:[ !]*(.+?)>?")

_PLACE = re.compile(r"\s*(\S+:\d+:\d+: \S.*)")
"""`plumber.R:19:16: unexpected '{'`"""

_NOT_OPENED = "cannot open the connection"
"""R's error for files and URLs alike. Which one it was is in a warning behind it."""

_WHICH = re.compile(r"cannot open (?:compressed file|file|URL) '.+")

UNFINISHED = (":", " in")
"""How the first line of an error ends, if its message follows in the next."""

HALTED = "Execution halted"
"""What R writes after the error that ended it."""


def why_failed(lines: Sequence[str]) -> str:
    """Return what R said of why a start failed; empty: nothing. The place of a syntax error says most."""
    for number in range(len(lines) - 1, -1, -1):
        if match := _PLACE.fullmatch(lines[number]):
            return match[1]
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number].strip()
        if line.startswith("Traceback"):
            return _last_of_traceback(lines[number:])
        if is_error(line) and line != HALTED:
            message = lines[number + 1 : number + 2] if line.endswith(UNFINISHED) else []
            return _naming_the_file(gist(" ".join([line, *(text.strip() for text in message)])), lines[number:])
    return ""


def _naming_the_file(error: str, lines: Sequence[str]) -> str:
    """Return the error, with the name of the file or URL that could not be opened if a later line has it."""
    if not error.endswith(_NOT_OPENED):
        return error
    named = (error.removesuffix(_NOT_OPENED) + which[0] for which in map(_WHICH.search, lines) if which is not None)
    return next(named, error)


def _last_of_traceback(lines: Sequence[str]) -> str:
    """Return the error that a traceback of Python ends with: the first line behind it that is not indented."""
    return next((line.strip() for line in lines[1:] if line[:1].strip()), lines[0].strip())


def is_error(text: str) -> bool:
    """Return whether a line of a worker's output begins an error."""
    return _ERROR.match(text) is not None


def gist(text: str) -> str:
    """Return the message of an error of R without the call that it came from, which may be a whole function."""
    match = _MESSAGE.fullmatch(text.strip())
    return f"{match[1]}: {match[2]}" if match else text.strip()
