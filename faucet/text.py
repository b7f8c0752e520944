"""Text from outside, made harmless: what a terminal or a reader could take for something else becomes a visible code.

Control characters steer a terminal, C1 controls (U+0080 to U+009F) do the same in one character, and characters of
direction and of line separation (Unicode's categories Cf, Zl, Zp) make one text look like another. None gets through.

Also what a misspelled word was meant to be, for messages: one place knows how alike two words have to be.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")

LINES = "\t\n"
"""Control characters that a message of several lines may contain, e.g. a traceback."""

_BEYOND_ASCII = re.compile("[^\x00-\x7f]")


def visible(text: str) -> str:
    """Return `text` on one line, without colours, tabs as spaces, other characters that have no shape as codes."""
    text = _COLOURS.sub("", text) if "\x1b" in text else text
    return escaped(text.replace("\t", "    "))


def visible_lines(text: str) -> str:
    """Return `text` as `visible` does, but with its line ends."""
    return "\n".join(map(visible, text.splitlines()))


def escaped(text: str, keep: str = "\t") -> str:
    """Return `text` with what has no shape as codes, but for the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else _code(letter) for letter in text)


def to_json(data: Any, indent: int | None = None) -> str:
    """Return `data` as JSON that is safe in a terminal: what has no shape becomes `\\uXXXX` (RFC 8259, 7)."""
    text = json.dumps(data, ensure_ascii=False, indent=indent).replace("\x7f", "\\u007f")
    return text if text.isascii() else _BEYOND_ASCII.sub(_escaped, text)


def _code(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]


ALIKE = 0.7
"""Least likeness, from 0 to 1, of a word to one that is suggested in its place."""

LOOSELY = 0.6
"""For names that people choose themselves, and lists of few words: there is little else that could be meant."""


def closest(word: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """Return the word in `known` that is most like the misspelled `word`; empty if none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1, alike)), "")


def did_you_mean(word: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """Return `; did you mean X?`, to be put behind a message; empty if nothing is like `word`."""
    close = closest(word, known, alike)
    return f"; did you mean {close}?" if close else ""


def print_error(text: str) -> None:
    """Print one message on standard error, if that is still open, for what is not in the log.

    It may quote a worker or a stranger, so control characters are shown as codes.
    """
    with contextlib.suppress(OSError):
        colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        prefix = "\x1b[31mfaucet:\x1b[0m" if colour else "faucet:"
        print(f"{prefix} {escaped(text, LINES)}", file=sys.stderr, flush=True)
