"""One attempt to log in to a bastion: with what, and what was seen on the way, so that a failure can be explained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from faucet.ssh.target import SSH_PORT, Target

CONNECT_PATIENCE = 10.0
"""Seconds for the bastion to accept a connection, and again to log in."""


Options = asyncssh.SSHClientConnectionOptions


@dataclass(frozen=True)
class SshFiles:
    """Files that the user named. None: the usual ones."""

    config: Path | None = None
    key: Path | None = None
    known_hosts: Path | None = None


@dataclass
class Attempt(asyncssh.SSHClient):
    """What one attempt to log in has seen, for telling why it failed."""

    target: Target
    files: SshFiles = SshFiles()
    keys: list[Path] = field(default_factory=list)
    """The private keys that are tried, as far as they are there."""
    password: bool = False
    """There is one to try."""
    host_key: asyncssh.SSHKey | None = None
    """One that is not trusted."""
    address: str = ""
    options: Options | None = None
    skipped: list[Path] = field(default_factory=list)
    """Keys that are encrypted, and whose passphrase nobody knows."""

    hops: list[asyncssh.SSHClientConnection] = field(default_factory=list)
    """Connections that this one goes through."""

    def close(self, connection: asyncssh.SSHClientConnection | None = None) -> None:
        """End it, and what it goes through."""
        if connection is not None:
            connection.abort()
        for hop in reversed(self.hops):
            hop.abort()
        self.hops.clear()

    @property
    def host(self) -> str:
        """The host name that counts, after the ssh config."""
        return (self.options.host if self.options else "") or self.target.host

    @property
    def port(self) -> int:
        """The port that counts."""
        return self.options.port if self.options else self.target.port or SSH_PORT

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.options.username if self.options else self.target.user or ""

    @property
    def where(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called for a key that is not in known_hosts, or is another one than there."""
        self.host_key, self.address = key, addr
        return False
