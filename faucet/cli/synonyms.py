"""Words and options of other programs, and what they are called here.

People type what they know from uvicorn, systemctl, docker or R. Only tables: `misuse.py` makes messages of them.
"""

from __future__ import annotations

from faucet.cli.commands import ALIASES, CTL
from faucet.cli.commands import COMMANDS as OWN_COMMANDS

COMMANDS = {
    "serve": "",
    "run": "",
    "up": "",
    "launch": "",
    "plumber": "",
    "server": "",
    "help": "--help",
    "version": "--version",
    "kubernetes": "k8s",
    "kube": "k8s",
    "kubectl": "k8s",
    "pods": "k8s",
    "monitor": "attach",
    "watch": "attach",
    "ui": "attach",
    "tui": "attach",
    "dashboard": "attach",
    "check": "doctor",
    "diagnose": "doctor",
    "validate": "doctor",
    "new": "init",
    "create": "init",
    "setup": "init",
    "examples": "example",
    "systemd": "example systemd",
    "docker": "example containerfile",
    "dockerfile": "example containerfile",
    "containerfile": "example containerfile",
    "manifests": "example kubernetes",
    "completions": "completion",
    "settings": "config",
    "options": "config",
    "configuration": "config",
    "reload": "ctl rolling-restart",
    "roll": "ctl rolling-restart",
    "rolling": "ctl rolling-restart",
    "ps": "ctl workers",
    "list": "ctl workers",
    "log": "ctl logs",
    "tail": "ctl logs --follow",
    "healthcheck": "ctl health",
    "shutdown": "ctl stop",
    "quit": "ctl stop",
    "down": "ctl stop",
    "end": "ctl stop",
    "pause": "ctl hold",
    "unpause": "ctl resume",
    "continue": "ctl resume",
}
"""What is typed, and the arguments of `faucet` that do it. The commands of `faucet ctl` are known besides."""

NO_COMMANDS = {
    "router": "start a Faucet for each API, and let nginx choose by path: faucet example nginx",
}
"""What others have and Faucet has not, and what to do instead."""

OPTIONS = {
    "--port": "--host",
    "-p": "--host",
    "--listen": "--host",
    "--bind": "--host",
    "-b": "--host",
    "--address": "--host",
    "--addr": "--host",
    "--ip": "--host",
    "--directory": "--dir",
    "--path": "--dir",
    "--root": "--dir",
    "--chdir": "--dir",
    "--cwd": "--dir",
    "--api": "--dir",
    "--processes": "--workers",
    "--procs": "--workers",
    "--replicas": "--workers",
    "--instances": "--workers",
    "--threads": "--workers",
    "-n": "--workers",
    "--timeout": "--request-timeout",
    "--graceful-timeout": "--shutdown-timeout",
    "--max-queue": "--queue-limit",
    "--backlog": "--queue-limit",
    "--max-body-size": "--max-body",
    "--max-memory": "--max-rss",
    "--daemon": "--headless",
    "--background": "--headless",
    "--no-monitor": "--headless",
    "--no-tui": "--headless",
    "--quiet": "--log-level warning",
    "-q": "--log-level warning",
    "--verbose": "--log-level debug",
    "-v": "--log-level debug",
    "--debug": "--log-level debug",
    "--log": "--log-file",
    "--max-log-file-size": "--log-max-size",
    "--logfile": "--log-file",
    "--watch": "--reload",
    "--hot-reload": "--reload",
    "--config-file": "--config",
    "--exec": "--command",
    "--cmd": "--command",
    "--metrics": "--admin",
    "--service": "--service-url",
    "--url": "--service-url",
    "--bastion": "--via-ssh",
    "--ssh": "--via-ssh",
    "--tls": "--tls-cert",
    "--ssl": "--tls-cert",
    "--https": "--tls-cert",
    "--cert": "--tls-cert",
    "--certfile": "--tls-cert",
    "--ssl-certfile": "--tls-cert",
    "--key": "--tls-key",
    "--keyfile": "--tls-key",
    "--ssl-keyfile": "--tls-key",
}
"""Options of other programs, and ours that mean the same."""

_BY_FILES = "leave it out; what is served follows from the files there: plumber.R, entrypoint.R or _server.yml"
_ONE_QUEUE = "leave it out; there is one queue, and a free worker takes the oldest request in it"
_NO_SESSIONS = "Shiny and Quarto are not served, since they need connections that stay with a process"
_NO_POSTGRES = "leave it out; --admin has metrics for Prometheus, and --log-format json has every request"

NOT_NEEDED = {
    "--strategy": _ONE_QUEUE,
    "-s": _ONE_QUEUE,
    "--type": _BY_FILES,
    "-t": _BY_FILES,
    "--app-dir": _NO_SESSIONS,
    "--quarto": _NO_SESSIONS,
    "--qmd": _NO_SESSIONS,
    "--shutdown": "leave it out; requests in flight are finished first, for at most --shutdown-timeout",
    "--pg-con-string": _NO_POSTGRES,
    "--telemetry-namespace": _NO_POSTGRES,
    "--telemetry-version": _NO_POSTGRES,
}
"""Options of the Faucet that is written in Rust (`faucet start …`), and why there are none like them here."""


def is_foreign(word: str) -> bool:
    """Return whether `word`, where a command is expected, means something in other programs, or in `faucet ctl`.

    To be looked at before anything else, since options of the command that was meant would be unknown. Such a word is
    never a directory, even if there is one of that name: `faucet logs` means the same everywhere.
    """
    return word not in OWN_COMMANDS and word not in ALIASES and word in {*COMMANDS, *NO_COMMANDS, *CTL}
