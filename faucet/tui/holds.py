"""Who held which lock, and when: made of finished requests, and of the locks that are held now.

Some locks are held on when their request has ended, as after a timeout, which no record tells. It is taken from the
updates: such a lock was held for as long as it was seen with the same start.
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
"""Seconds by which the start of one lock may differ in two sources: snapshots have hundredths."""

DISORDER = 5.0
"""Seconds by which a hold may be known later than one that ended after it: updates come a few times a second."""

HOLDS = 20_000
"""Holds that are kept: fifteen minutes at 22 requests a second."""

MARKS = 200
"""Marks that are kept."""

IN_SERVICE = ("ready", "busy", "held")


class Hold(NamedTuple):
    """One lock, from when it was taken until it was free; times are in seconds since the epoch."""

    worker: str
    start: float
    end: float
    left: float
    """From when on nobody waited for the answer, the client being gone, or told something else; infinite: never."""
    endpoint: str
    item: RequestRow | WorkerRow
    """The finished request; or the worker that is locked now."""


class Mark(NamedTuple):
    """Something that happened to a worker: it came into service, or there was trouble."""

    worker: str
    when: float
    trouble: bool
    item: LogRow


def lane_of(name: str) -> str:
    """Return the lane that a worker belongs to: those that replace it or drain (`2+`, `2-`) share that of `2`."""
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
    """All holds and marks that are known, the newest last."""

    def __init__(self) -> None:
        self.finished: deque[Hold] = deque(maxlen=HOLDS)
        self.total = 0
        """Holds ever added to `finished`."""
        self.marks: deque[Mark] = deque(maxlen=MARKS)
        self.unknown: deque[tuple[float, float]] = deque(maxlen=MARKS)
        """Spans in which requests ended that were not sent to this monitor, since there were too many."""
        self._locked: dict[str, tuple[Hold, float]] = {}  # by row key: the lock held now, and when it was seen last
        self._over: dict[str, Hold] = {}  # by row key: requests that have ended, while their locks are held
        self._since: dict[str, float] = {}

    def add_requests(self, rows: Iterable[RequestRow]) -> None:
        """Add finished requests."""
        for row in rows:
            hold = hold_of(row)
            if hold is not None and not self._goes_on(hold):
                self._add(hold)

    def _goes_on(self, hold: Hold) -> bool:
        """Whether the worker is still locked."""
        if hold.end - hold.start < SAME_START:
            return False  # it could be taken for the next one
        for key, (locked, _) in self._locked.items():
            if locked.worker == hold.worker and abs(locked.start - hold.start) < SAME_START:
                self._over[key] = hold._replace(left=min(hold.left, hold.end))
                return True
        return False

    def _add(self, hold: Hold) -> None:
        self.finished.append(hold)
        self.total += 1

    def see(self, rows: Iterable[WorkerRow], now: float) -> None:
        """Take in the workers as they are at `now`."""
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
        """Take in a message of Faucet: a warning or an error about a worker is trouble."""
        if row.worker and row.source in ("warning", "error"):
            self.marks.append(Mark(lane_of(row.worker), row.when, True, row))

    def see_skipped(self, first: RequestRow) -> None:
        """Requests were left out before `first`: what was between the last one known and it is not known."""
        before = self.finished[-1].end if self.finished else 0.0
        self.unknown.append((before, max(first.ended - first.service, before)))

    def since(self, when: float) -> Iterator[Hold]:
        """Return the finished holds that ended at `when` or later, the newest first."""
        newest = takewhile(lambda hold: hold.end >= when - DISORDER, reversed(self.finished))
        return (hold for hold in newest if hold.end >= when)

    def following(self, request: RequestRow) -> float:
        """Return when the worker of a request was locked the next time; infinite, if it has not been."""
        lane, ended = lane_of(request.worker), request.ended - SAME_START / 3  # a snapshot has hundredths
        after = [hold.start for hold, _ in self._locked.values() if hold.worker == lane and hold.start > ended]
        finished = (hold.start for hold in self.since(ended) if hold.worker == lane)
        after += [start for start in finished if start >= request.ended - 0.001]
        return min(after, default=inf)

    def held(self, now: float) -> list[Hold]:
        """Return the locks that are held now, as if they ended at `now`."""
        holds = []
        for key, (hold, _) in self._locked.items():
            left = self._over[key].left if key in self._over else hold.left
            holds.append(hold._replace(end=max(now, hold.start), left=left))
        return holds
