"""What a misspelled word was meant to be: the one place that knows how alike two words have to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

ALIKE = 0.7
"""Least likeness, from 0 to 1, of a word to one that is suggested."""

LOOSELY = 0.6
"""For names that people choose themselves, and lists of few words: there is little else that could be meant."""


def closest(word: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """Return the word in `known` that is most like `word`; empty if none is."""
    return next(iter(difflib.get_close_matches(word, list(known), 1, alike)), "")


def did_you_mean(word: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """Return `; did you mean X?`, to be put behind a message; empty if nothing is like `word`."""
    close = closest(word, known, alike)
    return f"; did you mean {close}?" if close else ""
