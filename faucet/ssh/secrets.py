"""What the user typed to log in: passphrases of keys, and passwords. Kept in memory only, for reconnects.

The process that has the terminal asks; the runtime is its child and gets them through a pipe, never by its environment
or its command line, which others may read.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, field

VARIABLE = "FAUCET_SECRETS"
"""Tells a runtime the descriptor of the pipe."""


@dataclass
class Secrets:
    """All of them."""

    passphrases: dict[str, str] = field(default_factory=dict)
    """By the path of the key."""
    passwords: dict[str, str] = field(default_factory=dict)
    """By `user@host`."""

    def pipe(self) -> int:
        """The reading end of a pipe with all of it in. A few hundred bytes: they fit into the pipe's buffer."""
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(asdict(self)).encode())
        return reader


def inherited(environment: MutableMapping[str, str]) -> Secrets:
    """What the process that started this one was told, if anything. To be called once."""
    text = environment.pop(VARIABLE, "")
    if not text.isdecimal():
        return Secrets()
    try:
        with os.fdopen(int(text), "rb") as pipe:
            return Secrets(**json.loads(pipe.read()))
    except (OSError, ValueError, TypeError):
        return Secrets()  # somebody else's variable


def can_ask() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> str:
    """What is typed, unseen. Blocks."""
    return getpass.getpass(f"faucet: {question}: ")
