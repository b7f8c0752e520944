"""What this process finds around it: packages that only some options need, and a working directory.

The command that installs packages must work for everybody who reads it, with Faucet from a checkout, from pipx, from uv
or from a virtual environment of a server. So it names the interpreter that runs, and the packages themselves: the
extras (`.[ssh]`, `.[reload]`) only mean something in a checkout.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

SSH = "asyncssh bcrypt"
"""For --via-ssh. Without bcrypt, encrypted keys are passed over in silence."""

RELOAD = "watchfiles"
"""For --reload."""


def install_command(packages: str) -> str:
    """Return the command line that installs `packages` where this interpreter finds them.

    Environments that uv makes have no pip of their own; uv then installs into them from outside.
    """
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {python} {packages}"
    return f"{python} -m pip install {packages}"


NO_CWD = "the current directory does not exist any more; cd to another, or name a directory by its full path"


def has_cwd() -> bool:
    """Whether the current directory still exists."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True
