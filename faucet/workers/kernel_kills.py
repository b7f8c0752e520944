"""Detect whether the kernel kills processes because memory is exhausted, from its counters around a worker's end.

A worker shares Faucet's cgroup, so what the kernel has killed there is counted in `memory.events` (cgroup version 2) or
`memory.oom_control` (version 1). Where there is neither, /proc/vmstat counts for the whole machine. Linux only.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from faucet.machine import memory, own_cgroups
from faucet.units import format_size

RECENT = 3.0
"""Seconds for which a rise of the counter explains an end: it is looked at once a second."""

UNKNOWN = "not by Faucet: out of memory? see dmesg"
"""The explanation if there is no counter."""


class Counter(NamedTuple):
    """A file in which the kernel counts."""

    path: Path
    ours: bool
    """Counts our cgroup, not the whole machine."""

    def read(self) -> int | None:
        """Return how many processes were killed for want of memory; None if the file does not tell."""
        try:
            lines = self.path.read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def counters(root: Path, own: Path, vmstat: Path) -> list[Counter]:
    """Return where the kernel may count, the most telling first; whether it exists or not."""
    unified, memory_groups = own_cgroups(root, own)
    files = [path / "memory.events" for path in unified] + [path / "memory.oom_control" for path in memory_groups]
    return [*(Counter(path, True) for path in files), Counter(vmstat, False)]


class KernelKills:
    """Watches the first counter that there is. Call `look` once a second."""

    def __init__(
        self, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup"),
        vmstat: Path = Path("/proc/vmstat"),
    ) -> None:  # fmt: skip
        self._where = root, own
        self._counter = next((found for found in counters(root, own, vmstat) if found.read() is not None), None)
        self._count = self._read()
        self._risen_at = -inf

    def _read(self) -> int:
        return (self._counter.read() or 0) if self._counter is not None else 0

    def look(self) -> None:
        """Take note of whether the counter has risen."""
        before, self._count = self._count, self._read()
        if self._count > before:
            self._risen_at = monotonic()

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel has killed something for want of memory just now, as of the last `look`."""
        return monotonic() - self._risen_at <= RECENT

    def why(self) -> str:
        """Return why a process was killed just now, by a SIGKILL that Faucet has not sent."""
        self.look()
        if self._counter is None:
            return UNKNOWN
        if not self.out_of_memory:
            return "not by Faucet, and not because memory ran out"
        if self._counter.ours:
            return f"by the kernel: out of memory, the limit is {format_size(memory(*self._where))}"
        return "by the kernel, most likely: this machine was out of memory"
