"""How a service learns that a monitor has started it: by a variable that names its end of a socket pair.

Each service asks, so this imports nothing of the monitor.
"""

from __future__ import annotations

import os

OWNER_VARIABLE = "FAUCET_OWNER"
"""Environment variable with the file descriptor of the runtime's end of the socket pair."""


def owner_descriptor() -> int | None:
    """Return the descriptor that a parent monitor has passed to this process; None if there is none."""
    text = os.environ.pop(OWNER_VARIABLE, "")
    return int(text) if text.isdecimal() else None
