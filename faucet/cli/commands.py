"""The table of commands: where each is.

A command is imported when it is meant, by `parser.py`. `ctl status` runs in loops of scripts, and the monitor, the
options of a service and what reads them take longer to import than it takes to answer. `tests/unit/cli/test_imports.py`
says what each may import.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command is."""

    module: str
    """In `faucet.cli`. It has what carries the command out, by the name of the command, or an `app`."""
    settings: str = ""
    """The class in `faucet.settings` whose fields are its options."""


COMMANDS = {
    "local": Command("serve", "LocalSettings"),
    "demo": Command("serve", "DemoSettings"),
    "k8s": Command("serve", "K8sSettings"),
    "attach": Command("attach", "AttachSettings"),
    "top": Command("top", "TopSettings"),
    "replay": Command("attach", "ReplaySettings"),
    "config": Command("show_config", "LocalSettings"),
    "example": Command("tools"),
    "completion": Command("tools"),
    "init": Command("tools"),
    "doctor": Command("doctor"),
    "ctl": Command("ctl"),
}
"""By name, in the order in which shells complete them. Without one, `local` is meant."""

ALIASES = {"start": "local"}

CTL = (
    "status", "workers", "queue", "requests", "endpoints", "logs", "health", "restart", "rolling-restart", "scale",
    "hold", "resume", "drop", "retry", "kill", "cancel", "handover", "stop",
)  # fmt: skip
"""Commands of `faucet ctl`: people leave out the `ctl`."""
