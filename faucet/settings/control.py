"""How the control socket of a service is named: when it is opened, and when it is looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

ControlPath = Path | Literal["none"]
"""Where to open the control socket, or that there is to be none."""

Which = int | Path
"""The port of a running service, or the path of its control socket."""


def parse_control(text: str) -> ControlPath | None:
    """Return the value of --control; None for an empty text, as of an empty variable."""
    if text == "none":
        return "none"
    return Path(text) if text else None


def parse_which(text: str) -> Which | None:
    """Return the port or the path in `text`; None for an empty text: the only service is meant."""
    if text.isascii() and text.isdecimal():
        return int(text)
    return Path(text) if text else None
