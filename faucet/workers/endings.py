"""How a process ended, in a sentence: `crashed (SIGSEGV) while serving GET /segv from 10.0.0.7 after 1.4s, 124MiB`."""

from __future__ import annotations

import signal
from collections.abc import Collection
from typing import NamedTuple

from faucet.proxy.record import Account, serving
from faucet.units import format_duration, format_size

CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}


class Ending(NamedTuple):
    """The details of a process that has ended."""

    how: str
    """`exited with code 1`, `crashed (SIGSEGV)`, `stopped`."""
    lived: float
    """Seconds from its start to its end."""
    work: Account | None = None
    """The request that the process was serving."""
    held: float = 0.0
    """Seconds for which that request had held the lock."""
    peak: int = 0
    """The most bytes of memory that it, or a child that it has waited for, ever had; 0: not known."""
    why: str = ""
    """Why the process was ended; empty if it ended by itself."""

    @property
    def text(self) -> str:
        """The sentence, with the worker as its subject. `after` is how long its request had held the lock; without a
        request, how long it had lived."""
        work = f" while serving {serving(self.work)}" if self.work is not None else ""
        after = format_duration(self.held if self.work is not None else self.lived)
        memory = f", {format_size(self.peak)}" if self.peak else ""
        why = f" ({self.why})" if self.why else ""
        return f"{self.how}{work} after {after}{memory}{why}"


def exit_text(code: int, ours: Collection[int] = ()) -> str:
    """`exited with code 1`, `crashed (SIGSEGV)`, `stopped`. `ours` are the signals that Faucet has sent."""
    if code >= 0:
        return f"exited with code {code}"
    if -code not in signal.valid_signals():
        return f"was ended by signal {-code}"
    number = signal.Signals(-code)
    if number in CRASHES:
        return f"crashed ({number.name})"
    if number in ours:
        return "was killed" if number == signal.SIGKILL else "stopped"
    if number == signal.SIGKILL:
        return f"was killed by {number.name}"
    return f"was ended by {number.name}, not by Faucet"


def by_a_stranger(code: int, ours: Collection[int]) -> bool:
    """Return whether a process was ended by a SIGKILL that Faucet has not sent, which is usually sent by the kernel."""
    return code == -signal.SIGKILL and signal.SIGKILL not in ours
