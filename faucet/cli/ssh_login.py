"""What commands need to reach another machine by --via-ssh: something typed, perhaps, and a place to look."""

from __future__ import annotations

import os

from faucet.control.find import HERE, Place
from faucet.fleet import StartFailed
from faucet.net.connect import NoWay
from faucet.service.ssh_login import login_of, require_asyncssh
from faucet.settings import SshSettings
from faucet.ssh.secrets import Secrets, can_ask, inherited


def typed_secrets(settings: SshSettings) -> Secrets:
    """What was typed to log in, now, or before by whoever has started us. Raises StartFailed."""
    secrets = inherited(os.environ)
    if not settings.via_ssh:
        return secrets
    require_asyncssh()
    if can_ask():
        from faucet.ssh.prompts import ask_what_is_needed

        try:
            ask_what_is_needed(login_of(settings, secrets), list(settings.via_ssh))
        except NoWay as error:
            raise StartFailed(str(error)) from error
    return secrets


def places_of(settings: SshSettings) -> list[Place]:
    """Return this machine, and each that --via-ssh names. Raises StartFailed."""
    if not settings.via_ssh:
        return [HERE]
    secrets = typed_secrets(settings)
    from faucet.control.remote import FarSide

    login = login_of(settings, secrets)
    return [HERE, *(FarSide([target], login) for target in settings.via_ssh)]


def place_of(settings: SshSettings) -> Place:
    """Where a runtime is looked for: here, or with --via-ssh on another machine. Raises StartFailed."""
    if not settings.via_ssh:
        return HERE
    secrets = typed_secrets(settings)
    from faucet.control.remote import FarSide

    return FarSide(list(settings.via_ssh), login_of(settings, secrets))
