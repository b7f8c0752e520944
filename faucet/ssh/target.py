"""`[user@]host[:port]`, as --via-ssh has it. No asyncssh: the command line reads it, too."""

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
    """A bastion. What is not said, the ssh config says."""

    host: str
    """A host alias of the ssh config, a name or an address."""
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (f"{self.user}@" if self.user else "") + host + (f":{self.port}" if self.port else "")


def parse_target(text: str) -> Target:
    """Raises ValueError."""
    match = _TARGET.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(f"{text!r} is no host to log in to: write host, user@host or user@host:2222")
    return Target(match["six"] or match["host"], match["user"], int(match["port"]) if match["port"] else None)


def parse_targets(texts: Iterable[str]) -> list[Target]:
    """Several, also with commas between. Raises ValueError."""
    return [parse_target(part.strip()) for text in texts for part in text.split(",") if part.strip()]
