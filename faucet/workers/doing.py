"""What a worker that does not answer is doing: it computes, or it waits, and for which connection."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from faucet.net.address import Address
from faucet.units import counted, format_duration

if TYPE_CHECKING:
    import psutil

STATES = {
    "running": "computing", "sleeping": "waiting", "disk-sleep": "waiting for a disk",
    "stopped": "stopped by a signal", "tracing-stop": "stopped by a debugger",
}  # fmt: skip
"""Descriptions of the process states of psutil."""

MOST_REMOTES = 3


class Mark(NamedTuple):
    """The CPU time in seconds that a process had used at some moment."""

    when: float
    cpu: float


class Doing(NamedTuple):
    """The activity of a process."""

    state: str
    now: Mark
    children: int = 0
    remotes: tuple[str, ...] = ()
    """Connections that it has opened, those that are not answered yet first: `connected to 10.0.0.5:5432`."""

    def text(self, since: Mark | None = None) -> str:
        """Return it in words, with the CPU time used `since` a mark."""
        parts = [STATES.get(self.state, self.state)]
        if since is not None:
            used = format_duration(max(self.now.cpu - since.cpu, 0.0))
            parts.append(f"{used} of CPU time in the last {format_duration(self.now.when - since.when)}")
        if self.children:
            parts.append(counted(self.children, "child process", "child processes"))
        return ", ".join([*parts, *self.remotes])


def cpu_mark(pid: int) -> Mark | None:
    """Return the CPU time that a process has used until now; None if it cannot be read. Takes 0.1 ms."""
    import psutil

    try:
        return _mark(psutil.Process(pid))
    except (psutil.Error, OSError):
        return None


def doing(pid: int, own_port: int) -> Doing | None:
    """Return what a process is doing; None if that cannot be determined. Connections to its `own_port` do not count.

    Looks at all processes and connections of the machine, which takes milliseconds: to be called in a thread.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return Doing(process.status(), _mark(process), len(process.children(recursive=True)),
                     _remotes(process, own_port))  # fmt: skip
    except (psutil.Error, OSError):
        return None


def _mark(process: psutil.Process) -> Mark:
    times = process.cpu_times()
    return Mark(monotonic(), times.user + times.system)


def _remotes(process: psutil.Process, own_port: int) -> tuple[str, ...]:
    import psutil

    words = {psutil.CONN_SYN_SENT: "connecting to", psutil.CONN_ESTABLISHED: "connected to"}
    found = [(list(words).index(one.status), Address(one.raddr.ip.removeprefix("::ffff:"), one.raddr.port))
             for one in process.net_connections("tcp")
             if one.status in words and one.raddr and one.laddr.port != own_port]  # fmt: skip
    texts = [f"{list(words.values())[rank]} {address}" for rank, address in sorted(found, key=lambda pair: pair[0])]
    return tuple(dict.fromkeys(texts))[:MOST_REMOTES]
