"""Text from outside, made harmless: what a terminal or a reader could take for something else becomes a visible code.

Control characters steer a terminal, C1 controls (U+0080 to U+009F) do the same in one character, and characters of
direction and of line separation (Unicode's categories Cf, Zl, Zp) make one text look like another. None gets through.
"""

from __future__ import annotations

import json
import re
from typing import Any

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")

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
