"""TODO."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def visible(text: str) -> str:
    """Without colours, tabs as spaces, and any other control or direction character as its code."""
    text = _COLOURS.sub("", text) if "\x1b" in text else text
    text = text.replace("\t", "    ")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
