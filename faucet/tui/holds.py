"""Which request held which lock, and when: from finished requests and from the locks that are held now.

Some locks are still held when their request has ended, e.g. after a timeout. The records of requests do not contain
that time. It is taken from the updates: such a lock was held for as long as it was seen with the same start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import takewhile
from math import inf
from typing import NamedTuple

from faucet.status.endpoint import endpoint_of
from faucet.status.snapshot import LogRow, RequestRow, WorkerRow

SAME_START = 0.03
"""Seconds by which the start of the same lock may differ between two sources. Snapshots round to hundredths."""

DISORDER = 5.0
"""Seconds by which holds may arrive out of order. Updates arrive only a few times a second."""

HOLDS = 20_000
"""Holds that are kept: 15 minutes at 22 requests per second."""

MARKS = 200
"""Marks that are kept."""

IN_SERVICE = ("ready", "busy", "held")


class Hold(NamedTuple):
    """One lock, from when it was acquired until it was released. Times are in seconds since the epoch."""

    worker: str
    start: float
    end: float
    left: float
    """When the client disconnected or got another response, e.g. after a timeout; infinite: never."""
    endpoint: str
    item: RequestRow | WorkerRow
    """The finished request, or the worker that is locked now."""


class Mark(NamedTuple):
    """An event of a worker: it came into service, or there was a problem."""

    worker: str
    when: float
    trouble: bool
    item: LogRow


def lane_of(name: str) -> str:
    """Return the lane of a worker. Starting and draining processes (`2+`, `2-`) share the lane of worker `2`."""
    number = name.rstrip("+-")
    return number if number.isdecimal() else name


def hold_of(row: RequestRow) -> Hold | None:
    """Return the hold of a finished request; None if it held no lock."""
    if not row.worker or row.service <= 0:
        return None
    left = row.ended - row.left if row.left else inf
    endpoint = endpoint_of(row.method, row.target)
    return Hold(lane_of(row.worker), row.ended - row.service, row.ended, left, endpoint, row)


class Holds:
    """All known holds and marks, the newest last."""

    def __init__(self) -> None:
        self.finished: deque[Hold] = deque(maxlen=HOLDS)
        self.total = 0
        """Number of holds added to `finished` since the start."""
        self.marks: deque[Mark] = deque(maxlen=MARKS)
        self.unknown: deque[tuple[float, float]] = deque(maxlen=MARKS)
        """Spans in which some requests were not sent to this monitor, because there were too many."""
        self._locked: dict[str, tuple[Hold, float]] = {}  # by row key: the lock held now, and when it was last seen
        self._over: dict[str, Hold] = {}  # by row key: requests that have ended while their locks are still held
        self._since: dict[str, float] = {}

    def add_requests(self, rows: Iterable[RequestRow]) -> None:
        """Add finished requests."""
        for row in rows:
            hold = hold_of(row)
            if hold is not None and not self._goes_on(hold):
                self._add(hold)

    def _goes_on(self, hold: Hold) -> bool:
        """Return whether the worker is still locked by this request. If so, remember the hold until its release."""
        if hold.end - hold.start < SAME_START:
            return False  # too short: it could be confused with the next hold
        for key, (locked, _) in self._locked.items():
            if locked.worker == hold.worker and abs(locked.start - hold.start) < SAME_START:
                self._over[key] = hold._replace(left=min(hold.left, hold.end))
                return True
        return False

    def _add(self, hold: Hold) -> None:
        self.finished.append(hold)
        self.total += 1

    def see(self, rows: Iterable[WorkerRow], now: float) -> None:
        """Update from the rows of the workers at `now`."""
        locked = {}
        before, self._since = self._since, {}
        for row in rows:
            self._see_start(row, before.get(row.key))
            if row.locked:
                method, _, target = row.request.partition(" ")
                hold = Hold(lane_of(row.name), row.locked, inf, row.left or inf, endpoint_of(method, target), row)
                locked[row.key] = (hold, now)
        for key, over in list(self._over.items()):
            if key not in locked or abs(locked[key][0].start - over.start) > SAME_START:
                del self._over[key]
                self._add(over._replace(end=max(over.end, self._locked[key][1])))
        self._locked = locked

    def _see_start(self, row: WorkerRow, known: float | None) -> None:
        started = row.since if row.state in IN_SERVICE else 0.0
        self._since[row.key] = started or known or 0.0
        if started and started != known:
            text = f"worker {row.name}: in service (pid {row.pid})" if row.pid else f"{row.name}: in service"
            self.marks.append(Mark(lane_of(row.name), row.since, False, LogRow(row.since, "info", row.name, text)))

    def see_event(self, row: LogRow) -> None:
        """Update from a message of Faucet: a warning or an error about a worker becomes a mark."""
        if row.worker and row.source in ("warning", "error"):
            self.marks.append(Mark(lane_of(row.worker), row.when, True, row))

    def see_skipped(self, first: RequestRow) -> None:
        """Record that requests before `first` were skipped: the time since the last known hold is unknown."""
        before = self.finished[-1].end if self.finished else 0.0
        self.unknown.append((before, max(first.ended - first.service, before)))

    def since(self, when: float) -> Iterator[Hold]:
        """Return the finished holds that ended at `when` or later, the newest first."""
        newest = takewhile(lambda hold: hold.end >= when - DISORDER, reversed(self.finished))
        return (hold for hold in newest if hold.end >= when)

    def following(self, request: RequestRow) -> float:
        """Return when the worker of a request was next locked; infinite if it has not been locked again."""
        lane, ended = lane_of(request.worker), request.ended - SAME_START / 3  # snapshots round to hundredths
        after = [hold.start for hold, _ in self._locked.values() if hold.worker == lane and hold.start > ended]
        finished = (hold.start for hold in self.since(ended) if hold.worker == lane)
        after += [start for start in finished if start >= request.ended - 0.001]
        return min(after, default=inf)

    def held(self, now: float) -> list[Hold]:
        """Return the locks that are held now, as holds that end at `now`."""
        holds = []
        for key, (hold, _) in self._locked.items():
            left = self._over[key].left if key in self._over else hold.left
            holds.append(hold._replace(end=max(now, hold.start), left=left))
        return holds
