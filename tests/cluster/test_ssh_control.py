"""`faucet ctl` and `faucet attach` on another machine, through a real sshd."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.control.paths import socket_path
from tests.support.bastion import ssh_options
from tests.support.checkout import ROOT
from tests.support.cluster import Cluster
from tests.support.cluster_net import BASTION
from tests.support.cluster_ssh import SshServer
from tests.support.running import Faucet, python_worker
from tests.support.terminal import Terminal

Ctl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bastion(cluster: Cluster) -> SshServer:
    """An sshd that tells logins where sockets are, as a session of systemd's would."""
    cluster.reset()
    return cluster.ssh.start(f"SetEnv XDG_RUNTIME_DIR={os.environ['XDG_RUNTIME_DIR']}", port=2223)


@pytest.fixture
def server(bastion: SshServer, cluster: Cluster, faucet: Callable[..., Faucet]) -> Faucet:
    """A Faucet on the far machine."""
    with cluster.inside("cluster"):
        service = faucet("--command", python_worker("counting"), "-w", "2", wrapper=cluster.wrapper("cluster"))
        service.wait_workers(2)
    return service


@pytest.fixture
def ctl(cluster: Cluster) -> Ctl:
    """`faucet ctl --via-ssh`, on the laptop."""

    def run(*words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        options = ssh_options(cluster, 2223)
        options[1] = options[1].replace("root@", f"{user}@")
        argv = [*cluster.wrapper("laptop"), sys.executable, "-W", "error", "-m", "faucet", "ctl", *words, *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": "/nowhere"}
        environment.pop("SSH_AUTH_SOCK", None)
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=30)

    return run


def test_ctl_finds_it_and_steers_it(server: Faucet, ctl: Ctl) -> None:
    status = ctl("status", "-j")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["service"]["pid"] == server.process.pid
    assert "2 of 2 workers ready" in ctl("health").stdout
    held = ctl("hold", "1")
    assert (held.returncode, held.stderr) == (0, "")
    server.wait_line("worker 1: held by ")
    wrong = ctl("health", "--at", "1")
    assert wrong.returncode == 1
    assert f"no running Faucet found on port 1; running:\n  {server.port}   " in wrong.stderr


def test_another_user_is_refused_by_the_socket(server: Faucet, cluster: Cluster, ctl: Ctl) -> None:
    cluster.directory.chmod(0o711)  # sshd reads the keys as that user
    refused = ctl("stop", "--at", str(socket_path(server.port)), user="nobody")
    assert refused.returncode == 1
    assert f"nobody@{BASTION}:2223 cannot connect to " in refused.stderr
    assert server.process.poll() is None
    none = ctl("status", user="nobody")
    assert none.returncode == 1


def test_when_nobody_serves_there(cluster: Cluster, ctl: Ctl) -> None:
    cluster.reset()
    cluster.ssh.start("SetEnv XDG_RUNTIME_DIR=/nowhere", port=2223)
    nobody = ctl("status")
    assert nobody.returncode == 1
    assert f"no running Faucet found on root@{BASTION}:2223" in nobody.stderr
    lost = ctl("status", user="-x")
    assert "invalid ssh target" in lost.stderr or lost.returncode != 0


@pytest.mark.quiet
def test_attach_shows_it_and_comes_back_after_a_cut(
    server: Faucet, bastion: SshServer, cluster: Cluster, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("tmux")
    options = ssh_options(cluster, 2223)
    words = [*cluster.wrapper("laptop"), "env", "-u", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR=/nowhere"]
    words += [sys.executable, "-m", "faucet", "attach", "--no-confirm", *options]
    terminal = Terminal(tmp_path)
    try:
        terminal.type(shlex.join(words) + "; echo ended with $?")
        terminal.keys("Enter")
        terminal.wait("serving", "2 ○ ready")
        terminal.keys("h")
        server.wait_line("worker 1: held by the monitor")
        terminal.wait("1 ‖ held")
        bastion.kill_sessions()
        terminal.wait("connection lost")
        terminal.wait("● serving", "1 ‖ held")
        terminal.keys("h")
        server.wait_line("worker 1: resumed by the monitor")
        terminal.keys("q")
        terminal.wait("ended with 0")
    finally:
        terminal.close()
