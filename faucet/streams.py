"""Standard input, output and error: they are there, whatever Faucet was started with.

`faucet <&- >&- 2>&-`, some cron jobs and supervisors close them. The next files that are opened would get their
numbers: the log would be written into a socket, and workers would take it for their standard error.
"""

from __future__ import annotations

import contextlib
import os
import sys


def open_missing() -> None:
    """Open /dev/null for those that are closed. To be called before anything else is opened."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if not _is_open(number):
            with contextlib.suppress(OSError):
                _open_null(number)
        if getattr(sys, name) is None and _is_open(number):
            stream = open(number, mode, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open_null(number: int) -> None:
    """Raises OSError."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    else:
        os.set_inheritable(number, True)
