"""Parses `[user@]host[:port]`, the value of --via-ssh. It does not import asyncssh, since the command line uses it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TARGET = re.compile(
    r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]*))(?::(?P<port>[0-9]{1,5}))?"
)

SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class Target:
    """A bastion. Missing parts come from the ssh config."""

    host: str
    """A Host alias of the ssh config, a name or an address."""
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


def parse_target(text: str) -> Target:
    """Parse one target. Raises ValueError."""
    match = _TARGET.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(f"invalid ssh target {text!r}; expected host, user@host or user@host:2222")
    return Target(match["six"] or match["host"], match["user"], int(match["port"]) if match["port"] else None)


def parse_targets(texts: Iterable[str]) -> list[Target]:
    """Parse several targets, also separated by commas. Raises ValueError."""
    return [parse_target(part.strip()) for text in texts for part in text.split(",") if part.strip()]
