"""The secrets for logins: passphrases of keys, and passwords. Kept in memory only, for reconnects.

The process with the terminal prompts; the runtime is its child and gets them through a pipe, never by its environment
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
"""Environment variable with the descriptor of the pipe."""


@dataclass
class Secrets:
    """The secrets that the user has typed."""

    passphrases: dict[str, str] = field(default_factory=dict)
    """By the path of the key."""
    passwords: dict[str, str] = field(default_factory=dict)
    """By `user@host`."""

    def pipe(self) -> int:
        """Return the reading end of a pipe with all secrets: a few hundred bytes, which fit into the pipe's buffer."""
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(asdict(self)).encode())
        return reader


def inherited(environment: MutableMapping[str, str]) -> Secrets:
    """Return the secrets passed by the parent process, if any. To be called once."""
    text = environment.pop(VARIABLE, "")
    if not text.isdecimal():
        return Secrets()
    try:
        with os.fdopen(int(text), "rb") as pipe:
            return Secrets(**json.loads(pipe.read()))
    except (OSError, ValueError, TypeError):
        return Secrets()  # not our variable


def can_ask() -> bool:
    """Whether there is a terminal to prompt on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> str:
    """Prompt for a secret without echo and return it. Blocks."""
    return getpass.getpass(f"faucet: {question}: ")
