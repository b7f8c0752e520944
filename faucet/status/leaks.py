"""Watch the memory of the workers on this machine, to name those that keep growing, and with which endpoint.

It reads one small file of /proc for each worker every EVERY seconds (15 microseconds), and no requests wait for it.
Linux only: elsewhere nothing is found.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from faucet.fleet import WorkerStatus
from faucet.proxy.stats import Record
from faucet.status.endpoint import endpoint_of
from faucet.status.growth import Growth, Leak
from faucet.units import format_duration, format_size

_log = logging.getLogger("faucet")

EVERY = 2.0
"""Seconds between two measurements."""

RECORDS = 200
"""Requests at most that are looked at for a measurement: with more, nobody can tell which of them it was."""

PAGE = os.sysconf("SC_PAGE_SIZE")


class Leaking(NamedTuple):
    """A worker that keeps growing."""

    worker: str
    since: float
    """Since when that is known."""
    leak: Leak


class Leaks:
    """The growth of all workers of a service. Call `look` whenever it is due."""

    def __init__(self) -> None:
        self._growth: dict[tuple[str, int], Growth] = {}
        self._due = 0.0
        self._ended = 0.0  # the end of the newest request that was looked at
        self._since: dict[tuple[str, int], float] = {}

    def is_due(self, now: float) -> bool:
        """Whether it is time for the next measurement."""
        return now >= self._due

    def look(
        self, now: float, workers: Iterable[WorkerStatus], recent: Sequence[Record], running: Iterable[Record]
    ) -> None:
        """Measure. `recent` are the latest finished requests, the newest last."""
        self._due = now + EVERY
        there = self._endpoints(recent, running)
        alive = {(worker.name, worker.pid) for worker in workers if worker.pid and worker.state in ("ready", "held")}
        for gone in self._growth.keys() - alive:
            del self._growth[gone]
            self._since.pop(gone, None)
        for key in alive:
            size = resident(key[1])
            if size:
                self._see(now, key, size, there.get(key[0], set()))

    def _see(self, now: float, key: tuple[str, int], size: int, endpoints: set[str]) -> None:
        growth = self._growth.setdefault(key, Growth())
        growth.see(now, size, endpoints)
        if growth.leak is None:
            self._since.pop(key, None)
        elif key not in self._since:
            self._since[key] = now
            _log.warning("worker %s %s", key[0], described(growth.leak), extra={"worker": key[0]})

    def _endpoints(self, recent: Sequence[Record], running: Iterable[Record]) -> dict[str, set[str]]:
        """Return the endpoints that each worker has served since the last measurement."""
        newest = [record for record, _ in zip(reversed(recent), range(RECORDS), strict=False)]
        fresh = list(takewhile(lambda record: record.ended > self._ended, newest))
        self._ended = fresh[0].ended if fresh else self._ended
        there: dict[str, set[str]] = {}
        for record in (*fresh, *running):
            if record.worker:
                name = endpoint_of(record.method.decode("latin-1"), record.target.decode("latin-1"))
                there.setdefault(record.worker, set()).add(name)
        return there

    def found(self) -> tuple[Leaking, ...]:
        """Return the workers that keep growing, the largest first."""
        leaks = [Leaking(key[0], self._since[key], growth.leak) for key, growth in self._growth.items() if growth.leak]
        return tuple(sorted(leaks, key=lambda each: -each.leak.after))


def described(leak: Leak) -> str:
    """Return a sentence with the worker as its subject."""
    when = f", mostly during {leak.endpoint}" if leak.endpoint else ""
    sizes = f"from {format_size(leak.before)} to {format_size(leak.after)}"
    return f"keeps growing: {sizes} in {format_duration(leak.seconds)}{when}"


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if that cannot be determined."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0
