"""Prompts on the terminal for passphrases and passwords to log in with, before anything else uses the terminal.

It logs in once to find out what is needed: with an agent, nothing is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from faucet.ssh.errors import SshError
from faucet.ssh.login import Login, unlocks
from faucet.ssh.secrets import ask
from faucet.ssh.target import Target

TRIES = 3

BY_TYPING = ("password", "keyboard-interactive")


def ask_what_is_needed(login: Login, targets: Sequence[Target]) -> None:
    """Fill in `login.secrets` until the first reachable one of `targets` accepts us. Raises SshError.

    Errors that no secret can fix are left to the next connection: they may be gone by then. Each attempt has an event
    loop of its own: input is read by the main thread, where Ctrl-C works.
    """
    for target in targets:
        try:
            _log_in(login, target)
        except SshError as error:
            if error.methods:
                raise
        else:
            return


def _log_in(login: Login, target: Target) -> None:
    """Log in to `target`, prompting as needed. Raises SshError."""
    for _ in range(TRIES + 1):
        try:
            asyncio.run(_try(login, target))
        except SshError as error:
            if not error.methods or not _ask(login, target, error):
                raise
        else:
            return


async def _try(login: Login, target: Target) -> None:
    """Log in to `target` once, and disconnect. Raises SshError."""
    connection, attempt = await login.connect(target)
    attempt.close(connection)
    await connection.wait_closed()


def _ask(login: Login, target: Target, error: SshError) -> bool:
    """Prompt for one more secret; return False if there is none left to ask for."""
    if "publickey" in error.methods:
        for path in error.skipped:
            if _ask_passphrase(login, path):
                return True
    if any(method in BY_TYPING for method in error.methods):
        login.secrets.passwords[str(target)] = ask(f"password for {target}")
        return bool(login.secrets.passwords[str(target)])
    return False


def _ask_passphrase(login: Login, path: Path) -> bool:
    """Prompt for the passphrase of a key; return False if the user skips it with an empty line, or fails."""
    for _ in range(TRIES):
        passphrase = ask(f"passphrase of {path}")
        if not passphrase:
            return False
        if unlocks(path, passphrase):
            login.secrets.passphrases[str(path)] = passphrase
            return True
    return False
