"""Logging in to a bastion: what the ssh config, the agent, the keys and known_hosts say counts, and nothing else.

Host keys are always checked. Nothing is asked here: whoever has a terminal may fill in `secrets` and try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncssh

from faucet.ssh.secrets import Secrets
from faucet.ssh.target import SSH_PORT, Target, parse_targets

CONNECT_PATIENCE = 10.0
"""Seconds for the bastion to accept a connection, and again to log in."""

KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 3, 2
"""A bastion that says nothing is given up after 3 s x (2 + 1)."""

FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""In front of the defaults: chacha20, which would be chosen, takes twice the CPU and gives half the throughput."""

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


class Login:
    """How to log in."""

    def __init__(self, files: SshFiles, secrets: Secrets) -> None:
        self.files = files
        self.secrets = secrets

    async def connect(self, target: Target) -> tuple[asyncssh.SSHClientConnection, Attempt]:
        """A connection. Raises SshError."""
        return await self._connect(target, None)

    async def _connect(
        self, target: Target, through: asyncssh.SSHClientConnection | None
    ) -> tuple[asyncssh.SSHClientConnection, Attempt]:
        """Hops (ProxyJump) are logged in to one after the other, by ourselves: each with the same checks."""
        from faucet.ssh.errors import explain

        attempt = Attempt(target)
        try:
            attempt.options = options = self._options(target, attempt)
            attempt.skipped = [key for key in self.key_files(options) if self._is_locked(key)]
            for hop in _hops(options) if through is None else ():
                through, passed = await self._connect(hop, through)
                attempt.hops += [*passed.hops, through]
            async with asyncio.timeout(2 * CONNECT_PATIENCE + 1):
                return await asyncssh.connect(target.host, options=options, tunnel=through), attempt
        except (OSError, asyncssh.Error, ValueError, TimeoutError) as error:
            attempt.close()
            raise await explain(error, attempt, self) from error
        except BaseException:
            attempt.close()
            raise

    def _options(self, target: Target, attempt: Attempt) -> Options:
        """Raises ValueError (config, keys), OSError."""
        given: dict[str, Any] = {}
        if target.user:
            given["username"] = target.user
        if target.port:
            given["port"] = target.port
        if self.files.config is not None:
            given["config"] = [self._must_exist(self.files.config, "--ssh-config")]
        if self.files.key is not None:
            self._must_exist(self.files.key, "--ssh-key")
            given["client_keys"] = [str(self.files.key)]
            given["ignore_encrypted"] = True  # it may be in the agent
        if self.files.known_hosts is not None:
            given["known_hosts"] = [str(self._must_exist(self.files.known_hosts, "--ssh-known-hosts"))]
        password = self.secrets.passwords.get(str(target))
        options = Options(
            host=target.host, client_factory=lambda: attempt, password=password, passphrase=self._passphrase,
            connect_timeout=CONNECT_PATIENCE, login_timeout=CONNECT_PATIENCE,
            keepalive_interval=KEEPALIVE_INTERVAL, keepalive_count_max=KEEPALIVE_COUNT, agent_forwarding=False,
            x11_forwarding=False, **given,
        )  # fmt: skip
        options = Options(options, known_hosts=_that_exist(options.known_hosts))
        if not options.config.get("Ciphers"):
            options = Options(options, encryption_algs=FAST_CIPHERS)
        return options

    def _must_exist(self, path: Path, option: str) -> Path:
        path = path.expanduser()
        if not path.is_file():
            raise ValueError(f"{option}: there is no file {path}")
        return path

    def _passphrase(self, filename: str) -> str | None:
        return self.secrets.passphrases.get(str(filename))

    def key_files(self, options: Options) -> list[Path]:
        """The private keys that would be tried, as far as they are there."""
        named = [self.files.key] if self.files.key else cast("list[str]", options.config.get("IdentityFile") or [])
        usual = [Path("~/.ssh") / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
        paths = [Path(path).expanduser() for path in named or usual]
        return [path for path in paths if path.is_file()]

    def _is_locked(self, path: Path) -> bool:
        """It is encrypted, and the passphrase is not known."""
        try:
            asyncssh.read_private_key(path, self._passphrase(str(path)))
        except asyncssh.KeyEncryptionError:
            return True
        except asyncssh.KeyImportError as error:
            return "passphrase" in str(error).lower()
        except OSError:
            return False
        return False


def _hops(options: Options) -> list[Target]:
    """What ProxyJump names."""
    jump = options.tunnel
    return parse_targets([jump]) if isinstance(jump, str) and jump.lower() != "none" else []


def _that_exist(known_hosts: object) -> list[str]:
    """The files of known hosts that are there, as OpenSSH has it. Where the config says `none`, which would switch all
    checks off: none."""
    names = [known_hosts] if isinstance(known_hosts, str) else known_hosts or []
    return [str(name) for name in names if Path(str(name)).expanduser().is_file()]  # type: ignore[attr-defined]


def unlocks(path: Path, passphrase: str) -> bool:
    """Whether it is the passphrase of that key. Raises ValueError if no passphrase would help."""
    try:
        asyncssh.read_private_key(path, passphrase)
    except asyncssh.KeyEncryptionError:
        return False
    return True


async def agent_keys() -> int:
    """How many keys the agent has; 0 without one."""
    if not os.environ.get("SSH_AUTH_SOCK"):
        return 0
    with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
        async with asyncio.timeout(2), asyncssh.connect_agent() as agent:
            return len(list(await agent.get_keys()))
    return 0
