"""What a service costs that nobody asks: CPU, and how often it wakes up; alone, and with the monitor open."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench import monitor, peers
from tests.support.running import python_worker

SECONDS = 30
WORKERS = 4


class Idle(NamedTuple):
    """What a process does in a second."""

    cpu: float
    """Per cent of a core."""
    wakeups: float
    """How often one of its threads has gone to sleep, and so has been woken: voluntary context switches."""


def _counts(process: psutil.Process) -> tuple[float, int]:
    times, switches = process.cpu_times(), 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE)
        switches += int(found[1]) if found else 0
    return times.user + times.system, switches


def idle(*processes: psutil.Process, seconds: float = SECONDS) -> list[Idle]:
    """Look at all of them for so long."""
    before = [_counts(process) for process in processes]
    threading.Event().wait(seconds)
    after = [_counts(process) for process in processes]
    return [
        Idle(100 * (now[0] - then[0]) / seconds, (now[1] - then[1]) / seconds)
        for then, now in zip(before, after, strict=True)
    ]


def report() -> None:
    """A table of the service, and of the monitor."""
    options = ("--command", python_worker("blocking"))
    print(f"\n### Idle, {WORKERS} workers, {SECONDS} s\n\n| | % of a core | wake-ups a second |\n| --- | --- | --- |")
    with peers.faucet("Faucet", peers.consecutive_ports(WORKERS), *options) as running:
        service = peers.service_on(running.port)
        found = {"the service": idle(service)[0]}
        with monitor.watching(running.port) as watching:
            found["the service, watched"], found["the monitor"] = idle(service, watching)
    for name, one in found.items():
        print(f"| {name} | {one.cpu:.2f} | {one.wakeups:.1f} |", flush=True)
