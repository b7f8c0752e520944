"""Logging in to a bastion: what the ssh config, the agent, the keys and known_hosts say counts, and nothing else.

Host keys are always checked. Nothing is asked here: whoever has a terminal may fill in `secrets` and try again.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import asyncssh

from faucet.ssh.attempt import CONNECT_PATIENCE, Attempt, Options, SshFiles
from faucet.ssh.errors import explain
from faucet.ssh.secrets import Secrets
from faucet.ssh.target import Target, parse_targets

KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 3, 2
"""A bastion that says nothing is given up after 3 s x (2 + 1)."""

FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""In front of the defaults: chacha20, which would be chosen, takes twice the CPU and gives half the throughput."""


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
        attempt = Attempt(target, self.files, password=bool(self.secrets.passwords.get(str(target))))
        try:
            attempt.options = options = self._options(target, attempt)
            attempt.keys = self.key_files(options)
            attempt.skipped = [key for key in attempt.keys if self._is_locked(key)]
            for hop in _hops(options) if through is None else ():
                through, passed = await self._connect(hop, through)
                attempt.hops += [*passed.hops, through]
            async with asyncio.timeout(2 * CONNECT_PATIENCE + 1):
                return await asyncssh.connect(target.host, options=options, tunnel=through), attempt
        except (OSError, asyncssh.Error, ValueError, TimeoutError) as error:
            attempt.close()
            raise await explain(error, attempt) from error
        except BaseException:
            attempt.close()
            raise

    def _options(self, target: Target, attempt: Attempt) -> Options:
        """Raises ValueError (config, keys), OSError."""
        try:
            return self._make_options(target, attempt)
        except PermissionError as error:
            home = os.environ.get("HOME", "")
            raise ValueError(
                f"{error.filename} may not be read by this user; HOME is {home!r}: is that another user's?"
            ) from error

    def _make_options(self, target: Target, attempt: Attempt) -> Options:
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
        path = Path(os.path.expanduser(path))  # noqa: PTH111, see _that_exist
        if not os.path.isfile(path):  # noqa: PTH113
            raise ValueError(f"{option}: there is no file {path}")
        if not os.access(path, os.R_OK):
            raise ValueError(f"{option}: {path} may not be read by this user")
        return path

    def _passphrase(self, filename: str) -> str | None:
        return self.secrets.passphrases.get(str(filename))

    def key_files(self, options: Options) -> list[Path]:
        """The private keys that would be tried, as far as they are there."""
        named = [self.files.key] if self.files.key else cast("list[str]", options.config.get("IdentityFile") or [])
        usual = [Path("~/.ssh") / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
        return [Path(path) for path in _that_exist([str(path) for path in named or usual])]

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
    # Not Path's functions: they raise something where there is no home, or one that may not be looked at (after `su`).
    paths = [os.path.expanduser(str(name)) for name in names]  # type: ignore[attr-defined]  # noqa: PTH111
    return [path for path in paths if os.path.isfile(path)]  # noqa: PTH113


def unlocks(path: Path, passphrase: str) -> bool:
    """Whether it is the passphrase of that key. Raises ValueError if no passphrase would help."""
    try:
        asyncssh.read_private_key(path, passphrase)
    except asyncssh.KeyEncryptionError:
        return False
    return True
