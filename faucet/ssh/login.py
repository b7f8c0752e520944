"""Logs in to a bastion by the ssh config, the agent, the keys and known_hosts, as OpenSSH would.

Host keys are always checked. It never prompts: a caller with a terminal can fill in `secrets` and try again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import asyncssh

from faucet import pauses
from faucet.ssh.attempt import CONNECT_PATIENCE, Attempt, Options, SshFiles
from faucet.ssh.errors import explain
from faucet.ssh.secrets import Secrets
from faucet.ssh.target import Target, parse_targets

KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 3, 2
"""Seconds between keepalive messages, and how many may be missed: a silent bastion is given up after 3 s x (2 + 1)."""

FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Preferred over the defaults: chacha20, the default choice, takes twice the CPU and has half the throughput."""


class Login:
    """Logs in to bastions with the given files and secrets."""

    def __init__(self, files: SshFiles, secrets: Secrets) -> None:
        self.files = files
        self.secrets = secrets

    async def connect(self, target: Target) -> tuple[asyncssh.SSHClientConnection, Attempt]:
        """Log in to `target`; return the connection and its attempt. Raises SshError."""
        return await self._connect(target, None)

    async def _connect(
        self, target: Target, through: asyncssh.SSHClientConnection | None
    ) -> tuple[asyncssh.SSHClientConnection, Attempt]:
        """Log in to the hops (ProxyJump) one after the other, each with the same checks, then to `target`."""
        attempt = Attempt(target, self.files, password=bool(self.secrets.passwords.get(str(target))))
        try:
            attempt.options = options = self._options(target, attempt)
            attempt.keys = self.key_files(options)
            attempt.skipped = [key for key in attempt.keys if self._is_locked(key)]
            for hop in _hops(options) if through is None else ():
                through, passed = await self._connect(hop, through)
                attempt.hops += [*passed.hops, through]
            async with pauses.timeout(2 * CONNECT_PATIENCE + 1):
                return await asyncssh.connect(target.host, options=options, tunnel=through), attempt
        except (OSError, asyncssh.Error, ValueError, TimeoutError) as error:
            attempt.close()
            raise await explain(error, attempt) from error
        except BaseException:
            attempt.close()
            raise

    def _options(self, target: Target, attempt: Attempt) -> Options:
        """Return the options of the connection. Raises ValueError (config, keys), OSError."""
        try:
            return self._make_options(target, attempt)
        except PermissionError as error:
            home = os.environ.get("HOME", "")
            raise ValueError(
                f"{error.filename} is not readable by this user; HOME is {home!r}: is that another user's?"
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
            raise ValueError(f"{option}: file {path} does not exist")
        if not os.access(path, os.R_OK):
            raise ValueError(f"{option}: {path} is not readable by this user")
        return path

    def _passphrase(self, filename: str) -> str | None:
        return self.secrets.passphrases.get(str(filename))

    def key_files(self, options: Options) -> list[Path]:
        """Return the existing private keys that would be tried."""
        named = [self.files.key] if self.files.key else cast("list[str]", options.config.get("IdentityFile") or [])
        usual = [Path("~/.ssh") / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
        return [Path(path) for path in _that_exist([str(path) for path in named or usual])]

    def _is_locked(self, path: Path) -> bool:
        """Whether the key is encrypted and its passphrase unknown."""
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
    """Return the hops given by ProxyJump."""
    jump = options.tunnel
    return parse_targets([jump]) if isinstance(jump, str) and jump.lower() != "none" else []


def _that_exist(known_hosts: object) -> list[str]:
    """Return the files of known hosts that exist, as OpenSSH does. `none` in the config, which would turn all checks
    off, yields no files."""
    names = [known_hosts] if isinstance(known_hosts, str) else known_hosts or []
    # Not Path's functions: they raise without a home directory, or with an unreadable one (after `su`).
    paths = [os.path.expanduser(str(name)) for name in names]  # type: ignore[attr-defined]  # noqa: PTH111
    return [path for path in paths if os.path.isfile(path)]  # noqa: PTH113


def unlocks(path: Path, passphrase: str) -> bool:
    """Whether `passphrase` decrypts the key at `path`. Raises ValueError if the key is invalid."""
    try:
        asyncssh.read_private_key(path, passphrase)
    except asyncssh.KeyEncryptionError:
        return False
    return True
