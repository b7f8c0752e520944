"""CPU and memory of processes. The monitor and `ctl` sample them, never the service: it takes 0.2 ms per process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from faucet.units import format_size

if TYPE_CHECKING:
    import psutil


class Usage(NamedTuple):
    """CPU and memory of one process."""

    cpu: float
    """Per cent of one core."""
    rss: int
    """Resident memory in bytes."""
    pss: int = 0
    """Proportional set size in bytes: each shared page is divided by the number of processes sharing it; 0: unknown."""
    uss: int = 0
    """Unique set size in bytes: the memory that is freed when the process ends; 0: not measured."""

    @property
    def text(self) -> str:
        """The usage as text: `CPU 3 %, memory 410MiB, 20MiB of it its own`."""
        own = f", {format_size(self.uss)} of it its own" if self.uss else ""
        return f"CPU {self.cpu:.0f} %, memory {format_size(self.rss)}{own}"


def sample_usage(pids: Mapping[int, object], seen: dict[int, object], shared: bool = False) -> dict[int, Usage]:
    """Return usage by pid: CPU since the last call with the same `seen`, memory now. Unreadable pids are left out.

    With `shared`, PSS and USS are measured as well: the kernel visits each page for that, which takes some milliseconds
    for each 100 MB.
    """
    import psutil

    usage = {}
    for pid in pids:
        try:
            process = seen.get(pid) or psutil.Process(pid)
            assert isinstance(process, psutil.Process)
            seen[pid] = process
            with process.oneshot():
                usage[pid] = Usage(process.cpu_percent(), *_memory(process, shared))
        except psutil.Error:
            seen.pop(pid, None)
    for gone in seen.keys() - pids.keys():
        del seen[gone]
    return usage


def _memory(process: psutil.Process, shared: bool) -> tuple[int, int, int]:
    if not shared:
        return process.memory_info().rss, 0, 0
    memory = process.memory_full_info()
    return memory.rss, getattr(memory, "pss", 0), memory.uss
