"""Find the request that an error in a worker's output belongs to: the one that holds the worker's lock.

Output and responses arrive on different ways. A line that was written before the response may be read a moment after
it, when the next request already has the lock. So an error within the first instants of a lock is attributed to the
request before.
"""

from __future__ import annotations

from time import monotonic, time
from typing import Protocol

from faucet.log.r_errors import HALTED, UNFINISHED, is_error
from faucet.proxy.holders import PoolLease
from faucet.proxy.stats import Record, Stats

LIMIT = 500
"""Characters of an error that are kept."""

FIRST_INSTANTS = 0.001
"""Seconds in which no worker has read its request, failed, and said so."""

LATE = 0.1
"""Seconds after its end in which an error is still a request's, if its worker has had no other since."""


class Locked(Protocol):
    """What this module needs of the holder of a lock."""

    @property
    def lease(self) -> PoolLease | None:
        """What holds its lock."""
        ...


class RequestErrors:
    """Remembers in the record of each request the last error that its worker wrote. For one process, `worker`."""

    def __init__(self, name: str, worker: Locked, stats: Stats) -> None:
        self._name = name
        self._worker = worker
        self._stats = stats
        self._unfinished: tuple[str, Record] | None = None

    def see(self, stream: str, line: str) -> None:
        """Take a line of output."""
        unfinished, self._unfinished = self._unfinished, None
        if is_error(line):
            record = self._record()
            if record is not None and not (record.error and line.strip() == HALTED):
                record.error = line.strip()[:LIMIT]
                if record.error.endswith(UNFINISHED):
                    self._unfinished = stream, record
        elif unfinished is not None and unfinished[0] == stream:
            record = unfinished[1]
            record.error = f"{record.error} {line.strip()}"[:LIMIT]

    def _record(self) -> Record | None:
        lease = self._worker.lease
        before = self._latest()
        if lease is None or (before is not None and monotonic() - lease.since < FIRST_INSTANTS):
            return before
        return lease.holder.account

    def _latest(self) -> Record | None:
        """Return the request that has ended last, if that was just now."""
        self._stats.settle()
        since = time() - LATE
        for record in reversed(self._stats.recent):
            if record.ended < since:
                return None
            if record.worker == self._name:
                return record
        return None
