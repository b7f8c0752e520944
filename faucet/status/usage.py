"""What processes use. Asked by whoever looks, never by the runtime: it costs 0.2 ms for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Usage(NamedTuple):
    """What a process uses."""

    cpu: float
    """Per cent of one core."""
    rss: int
    """Bytes of resident memory."""


def sample_usage(pids: Mapping[int, object], seen: dict[int, object]) -> dict[int, Usage]:
    """CPU since the last call with the same `seen`, and memory now. Processes that are not ours are left out."""
    import psutil

    usage = {}
    for pid in pids:
        try:
            process = seen.get(pid) or psutil.Process(pid)
            assert isinstance(process, psutil.Process)
            seen[pid] = process
            with process.oneshot():
                usage[pid] = Usage(process.cpu_percent(), process.memory_info().rss)
        except psutil.Error:
            seen.pop(pid, None)
    for gone in seen.keys() - pids.keys():
        del seen[gone]
    return usage
