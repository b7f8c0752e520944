"""How tests log in to the rig's bastion: by options of the program, and by a Login in this process."""

from __future__ import annotations

from faucet.ssh.attempt import SshFiles
from faucet.ssh.login import Login
from faucet.ssh.secrets import Secrets
from tests.support.cluster import Cluster
from tests.support.cluster_net import BASTION


def ssh_options(cluster: Cluster, port: int = 2222) -> list[str]:
    """The options of the program with which it logs in to the bastion."""
    ssh = cluster.ssh
    config = cluster.directory / "empty_config"
    config.touch()
    known = cluster.directory / "known_everywhere"
    line = ssh.known_hosts.read_text()
    known.write_text("".join(line.replace("2222", str(2222 + number)) for number in range(5)))
    return [
        "--via-ssh", f"{ssh.user}@{BASTION}:{port}", "--ssh-config", str(config), "--ssh-key", str(ssh.key),
        "--ssh-known-hosts", str(known),
    ]  # fmt: skip


def login(cluster: Cluster) -> Login:
    """A Login as the tests' user, with their key."""
    config = cluster.directory / "empty_config"
    config.touch()
    return Login(SshFiles(config, cluster.ssh.key, cluster.ssh.known_hosts), Secrets())
