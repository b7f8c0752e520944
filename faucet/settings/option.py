"""What the command line has to know of an option, and the groups in which help shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Unit = Literal[
    "duration",
    "size",
    "address",
    "keys",
    "span",
    "target",
    "url",
    "dns",
    "ssh",
    "trust",
    "admin",
    "count",
    "api",
    "directory",
    "globs",
    "names",
    "signal",
    "screen",
    "control",
    "which",
    "limit",
    "warmup",
    "otlp",
    "plain",
]


@dataclass(frozen=True, slots=True)
class Option:
    """What the command line has to know of a field."""

    help: str
    group: str
    unit: Unit = "plain"
    example: str = ""
    """A value, as it is written on the command line. Switches have none."""
    counts: str = ""
    """What a number counts: `requests`, `bytes a second`."""
    detail: str = ""
    """What docs/reference.md says besides, in Markdown. `--help` leaves it out."""
    short: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    positional: Literal["no", "only", "also"] = "no"
    """Whether it is given as a word without a flag: `also` means that it has a flag, too."""
    negative: str | None = None
    """The flag that turns it off, where it is on by default."""
    shown: str | None = None
    """The default as help shows it, where the value itself would not tell."""


def option(default: Any, help: str, group: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(help, group, **more)})


QUEUE, MESSAGES, WORKERS, SERVICE = "Queue and time limits", "Messages", "Workers", "Service"
LOG, MONITOR = "Log", "Monitor"
PODS, SSH, REPLICAS = "Pods", "Through SSH", "Several Faucets"

KIB, MIB = 1 << 10, 1 << 20

MOST_WORKERS = 1000

CONFIG_NAME = "faucet.toml"
"""The file with options in the directory of an API."""

ACTIONS = (
    "details", "restart", "rolling-restart", "scale-up", "scale-down", "hold", "kill", "cancel", "drop", "retry",
    "filter", "follow", "only", "source", "wrap", "mark", "clear", "copy", "save", "sort", "invert", "pause",
    "log", "requests", "queue", "events", "lanes", "endpoints", "heat", "what-if", "longer", "shorter",
    "back", "on", "minute-back", "minute-on", "oldest", "newest", "next-error", "previous-error", "curl",
    "notices", "help", "quit",
)  # fmt: skip
"""What keys can be given to. The same as in the monitor, which is too heavy to be asked."""
