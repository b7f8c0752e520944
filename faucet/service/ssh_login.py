"""What --via-ssh needs: the package asyncssh, and the login that the options describe."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from faucet.fleet import StartFailed
from faucet.machine import SSH, install_command
from faucet.settings import SshSettings
from faucet.ssh.secrets import Secrets

if TYPE_CHECKING:
    from faucet.ssh.login import Login


def require_asyncssh() -> None:
    """Check that asyncssh is installed. Raises StartFailed if it is not."""
    if importlib.util.find_spec("asyncssh") is None:
        raise StartFailed(f"--via-ssh needs the package asyncssh. Install it with: {install_command(SSH)}")


def login_of(settings: SshSettings, secrets: Secrets) -> Login:
    """Return the SSH login that the options describe."""
    from faucet.ssh.attempt import SshFiles
    from faucet.ssh.login import Login

    return Login(SshFiles(settings.ssh_config, settings.ssh_key, settings.ssh_known_hosts), secrets)
