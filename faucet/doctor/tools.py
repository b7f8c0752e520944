"""What only some ways of serving need: watchfiles, asyncssh and what ssh keeps, kubectl."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import socket
from importlib.metadata import version
from pathlib import Path

from faucet.doctor.findings import Finding
from faucet.machine import OTEL, RELOAD, SSH, install_command
from faucet.otel.telemetry import is_installed
from faucet.settings import K8sSettings, LocalSettings

AGENT_PATIENCE = 2.0
"""Seconds for the agent to accept a connection."""

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


def watchfiles(settings: LocalSettings) -> list[Finding]:
    """For --reload."""
    if importlib.util.find_spec("watchfiles") is not None:
        return [Finding("ok", "watchfiles", f"{version('watchfiles')}, for --reload")]
    if settings.reload:
        return [Finding("broken", "watchfiles", "is not installed, and --reload needs it", install_command(RELOAD))]
    return [Finding("unused", "watchfiles", "is not installed; only --reload needs it", install_command(RELOAD))]


def otel(settings: LocalSettings | K8sSettings) -> list[Finding]:
    """For --otel-endpoint, if it is set."""
    if not settings.otel_endpoint:
        return []
    if is_installed():
        return [Finding("ok", "OpenTelemetry", f"{version('opentelemetry-sdk')}, for --otel-endpoint")]
    return [Finding("broken", "OpenTelemetry", "is not installed, and --otel-endpoint needs it", install_command(OTEL))]


def ssh(settings: LocalSettings | K8sSettings) -> list[Finding]:
    """For --via-ssh: asyncssh; if that is there, what it reads and whom it asks."""
    wanted = isinstance(settings, K8sSettings) and bool(settings.via_ssh)
    if importlib.util.find_spec("asyncssh") is None:
        if wanted:
            return [Finding("broken", "asyncssh", "is not installed, and --via-ssh needs it", install_command(SSH))]
        return [Finding("unused", "asyncssh", "is not installed; only --via-ssh needs it", install_command(SSH))]
    home = Path(os.path.expanduser("~")) / ".ssh"  # noqa: PTH111 (Path's raises where there is no home)
    return [
        Finding("ok", "asyncssh", f"{version('asyncssh')}, for --via-ssh"),
        _ssh_config(home / "config"),
        _known_hosts(home / "known_hosts"),
        _agent(os.environ.get("SSH_AUTH_SOCK", "")),
    ]


def _ssh_config(path: Path) -> Finding:
    subject = "ssh config"
    if not os.path.lexists(path) and os.access(path.parent.parent, os.X_OK):
        return Finding("unused", subject, f"{path} does not exist: name bastions by user@host:port")
    if not os.access(path, os.R_OK):
        return Finding("warning", subject, f"{path} cannot be read", f"ls -l {shlex.quote(str(path))}")
    if not path.is_file():
        return Finding("warning", subject, f"{path} is not a file", f"ls -ld {shlex.quote(str(path))}")
    return Finding("ok", subject, str(path))


def _known_hosts(path: Path) -> Finding:
    subject = "known_hosts"
    for file in (path, SYSTEM_KNOWN_HOSTS):
        if os.access(file, os.R_OK) and file.is_file():
            return Finding("ok", subject, str(file))
    advice = "ssh USER@BASTION, once, and compare the fingerprint that it shows"
    return Finding("unused", subject, "does not exist, and --via-ssh trusts only hosts that are in it", advice)


def _agent(path: str) -> Finding:
    subject, advice = "ssh agent", 'eval "$(ssh-agent)" && ssh-add'
    if not path:
        return Finding(
            "unused", subject, "none (SSH_AUTH_SOCK is not set); encrypted keys need one, or a terminal", advice
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(AGENT_PATIENCE)
        try:
            probe.connect(path)
        except OSError as error:
            return Finding("warning", subject, f"SSH_AUTH_SOCK={path}: {error.strerror or error}", advice)
    return Finding("ok", subject, f"answers at {path}")


def kubectl(_: LocalSettings | K8sSettings) -> list[Finding]:
    """For `faucet k8s`, outside of a cluster."""
    found = shutil.which("kubectl")
    if found:
        return [Finding("ok", "kubectl", found)]
    return [Finding("unused", "kubectl", "is not installed; `faucet k8s` needs it to ask a cluster's API from outside")]
