"""End the processes that belong to a worker that has exited, without blocking the event loop.

Looking through the process table takes about a millisecond for 50 processes, so it is done in a thread, and once for
all workers that end at the same time.
"""

from __future__ import annotations

import asyncio
import signal

from faucet import tasks
from faucet.workers.kin import (
    END_SECONDS,
    KILL_SECONDS,
    LOOKS,
    NONE_KNOWN,
    QUIET_SECONDS,
    Process,
    Targets,
    family,
    scan,
    veiled,
)

POLITE_SECONDS = 0.5
"""Seconds from SIGTERM to SIGKILL. The processes have no requests to finish, since their worker has exited."""

RETRY_SECONDS = 0.2
"""Seconds before the process table is read again after a lack of file descriptors."""


class Watch:
    """Reads the process table for several callers at once: a call during a scan gets the result of the next scan."""

    def __init__(self) -> None:
        self._next: asyncio.Task[dict[int, Process] | None] | None = None
        self._running: asyncio.Task[dict[int, Process] | None] | None = None
        self._since = 0

    async def look(self, since: int) -> dict[int, Process] | None:
        """Return the process table as it is after this call. Marks are read of processes started at `since` or later.

        None if there are no descriptors left for that.
        """
        if self._next is None:
            self._since = since
            self._next = tasks.start(self._look(self._running), "look at the process table")
        self._since = min(self._since, since)
        return await asyncio.shield(self._next)

    async def _look(self, before: asyncio.Task[dict[int, Process] | None] | None) -> dict[int, Process] | None:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        try:
            return await asyncio.to_thread(scan, self._since)
        except OSError:
            return None


async def end_family(
    watch: Watch, mark: str, leaders: dict[int, int], known: set[tuple[int, int]] = NONE_KNOWN
) -> list[int]:
    """Send SIGTERM to all that belongs to a process which has exited, SIGKILL a moment later, until nothing is left.

    Returns the pids of those that still live: they may not be signalled, or are stuck in the kernel.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + END_SECONDS
    untouchable: set[tuple[int, int]] = set()
    steps = [(signal.SIGTERM, POLITE_SECONDS), (signal.SIGKILL, KILL_SECONDS)]
    found: list[Process] = []
    looks = 0
    while loop.time() < deadline:
        table = await watch.look(min(leaders.values()))
        if table is None:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        found = family(table, mark, leaders, known)
        mortal = [process for process in found if (process.pid, process.start) not in untouchable]
        if not mortal:
            looks += 1
            if looks >= LOOKS or not veiled(table):
                break
            await asyncio.sleep(QUIET_SECONDS)
            continue
        untouchable |= await asyncio.to_thread(_end, mortal, steps)
        steps = steps[-1:]
    return [process.pid for process in found]


def _end(found: list[Process], steps: list[tuple[signal.Signals, float]]) -> set[tuple[int, int]]:
    """Return those that may not be signalled."""
    with Targets(found) as targets:
        for number, seconds in steps:
            targets.send(number)
            if targets.wait(seconds):
                break
        return targets.untouchable
