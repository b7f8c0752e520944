"""One attempt to log in to a bastion: its credentials and what happened, so that a failure can be explained."""

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
    """Files given by options. None: OpenSSH's default ones."""

    config: Path | None = None
    key: Path | None = None
    known_hosts: Path | None = None


@dataclass
class Attempt(asyncssh.SSHClient):
    """The state of one login attempt, from which `errors.explain` builds its message."""

    target: Target
    files: SshFiles = SshFiles()
    keys: list[Path] = field(default_factory=list)
    """The existing private keys that are tried."""
    password: bool = False
    """Whether there is a password to try."""
    host_key: asyncssh.SSHKey | None = None
    """The bastion's host key, if it is not trusted."""
    address: str = ""
    options: Options | None = None
    skipped: list[Path] = field(default_factory=list)
    """Encrypted keys with an unknown passphrase."""

    hops: list[asyncssh.SSHClientConnection] = field(default_factory=list)
    """The connections that this one is tunnelled through (ProxyJump)."""

    def close(self, connection: asyncssh.SSHClientConnection | None = None) -> None:
        """Abort `connection` and the hops that it is tunnelled through."""
        if connection is not None:
            connection.abort()
        for hop in reversed(self.hops):
            hop.abort()
        self.hops.clear()

    @property
    def host(self) -> str:
        """The host name after applying the ssh config."""
        return (self.options.host if self.options else "") or self.target.host

    @property
    def port(self) -> int:
        """The port after applying the ssh config."""
        return self.options.port if self.options else self.target.port or SSH_PORT

    @property
    def user(self) -> str:
        """The user name after applying the ssh config."""
        return self.options.username if self.options else self.target.user or ""

    @property
    def where(self) -> str:
        """Host and port as `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called by asyncssh for a host key that is not in known_hosts, or differs: remember and reject it."""
        self.host_key, self.address = key, addr
        return False
