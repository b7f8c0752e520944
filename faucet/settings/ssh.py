"""The way through SSH. In a file of its own, since `faucet ctl` needs no other options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from faucet.settings.option import SSH, option
from faucet.ssh.target import Target


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """Whether to go through a bastion, and how to log in there."""

    via_ssh: tuple[Target, ...] = option(
        (),
        "Connect through SSH to this host, a bastion or where Faucet runs: [user@]host[:port]. Can be "
        "repeated: the next one is used if that fails.",
        SSH,
        unit="ssh",
        shown="none",
        example="ops@bastion",
    )
    ssh_config: Path | None = option(
        None, "SSH client configuration to read.", SSH, shown="~/.ssh/config", example="~/.ssh/config-work"
    )
    ssh_key: Path | None = option(
        None, "Private key to log in with.", SSH, shown="as the config says", example="~/.ssh/id_deploy"
    )
    ssh_known_hosts: Path | None = option(
        None, "File of trusted host keys.", SSH, shown="~/.ssh/known_hosts", example="/etc/ssh/known_hosts_faucet"
    )
