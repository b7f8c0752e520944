"""How a process ended, in words."""

from __future__ import annotations

import signal
from collections.abc import Collection

from faucet.workers.process import ChildProcess

CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}

OUT_OF_MEMORY = "not by Faucet: out of memory? see dmesg"
"""Where to look if SIGKILL did not come from Faucet: most often it came from the kernel."""


def how_it_ended(process: ChildProcess) -> str:
    """Return `stopped` if `stop` ended it, else as `exit_text`. To be called once it has exited."""
    return "stopped" if process.stopped else exit_text(process.exited.result(), process.signals)


def exit_text(code: int, ours: Collection[int] = ()) -> str:
    """`exited with code 1`, `crashed (SIGSEGV)`, `stopped`. `ours` are the signals that we have sent."""
    if code >= 0:
        return f"exited with code {code}"
    if -code not in signal.valid_signals():
        return f"was ended by signal {-code}"
    number = signal.Signals(-code)
    if number in CRASHES:
        return f"crashed ({number.name})"
    if number == signal.SIGKILL and number not in ours:
        return f"was killed by {number.name}, {OUT_OF_MEMORY}"
    if number in ours:
        return "was killed" if number == signal.SIGKILL else "stopped"
    return f"was ended by {number.name}, not by Faucet"
