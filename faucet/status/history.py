"""Recent history: every service time and queue time of the last 15 minutes, and one row per minute for 24 hours.

Times are kept unrounded, in sorted runs for every few seconds. So quantiles are exact, and all figures can cover the
same window. They are added a thousand at a time: all of a second together would stop the loop for milliseconds. Memory
is bounded: KEPT bytes of times (at the limit the window becomes shorter, see `Window.seconds`), and one row of about a
kilobyte for each minute.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from faucet.proxy.stats import BUCKET_BOUNDS, Stats
from faucet.status.quantiles import Runs, quantile_of_runs
from faucet.status.snapshot import HistoryRow, SecondRow

STEP = 5
"""Length of a slice, in seconds."""

LONGEST = 900.0
"""Longest window, in seconds."""

MINUTES = 24 * 60
"""Rows that cover a minute, as many as are kept."""

KEPT = 8 << 20
"""Bytes of times that are kept: 15 minutes at 700 requests per second, 30 seconds at 20,000."""

OVERHEAD = 100
"""Size of a run without its values, in bytes."""

SECONDS = 60
"""Rows that cover a second, as many as are kept for sparklines."""

HEAT_BOUNDS = BUCKET_BOUNDS[1::2]
"""Upper bounds of the rows of a heat map, in seconds. Each is the square root of 2 times the one before."""


class Counters(NamedTuple):
    """Counters of `Stats` at one moment. The difference of two is the count for the time between them."""

    exchanges: int = 0
    errors: int = 0
    refused: int = 0


def counters_of(stats: Stats) -> Counters:
    """Return the current counters."""
    return Counters(stats.exchanges, stats.errors, stats.refused_requests)


class Slice:
    """The times of STEP seconds, in seconds."""

    __slots__ = ("before", "locked", "number", "service", "waited", "waiting", "workers")

    def __init__(self, number: int, before: Counters) -> None:
        self.number = number
        """The slice begins `number * STEP` seconds after the epoch."""
        self.before = before
        self.service = Runs()
        self.waited = Runs()
        self.workers: defaultdict[str, Runs] = defaultdict(Runs)
        """Service times by worker."""
        self.locked = 0
        self.waiting = 0
        """Most locks held, and most requests queued, at any tick (one per second)."""

    def add(self, times: dict[str, list[float]], waits: list[float]) -> None:
        """Add service times by worker, and queue times (`waits`). Sorts the lists in `times`, which are added twice."""
        every: list[float] = []
        for worker, values in times.items():
            values.sort()
            self.workers[worker].add(values)
            every += values
        self.service.add(every)
        self.waited.add(waits)

    def close(self) -> None:
        """Use less memory, since nothing will be added."""
        for runs in (self.service, self.waited, *self.workers.values()):
            runs.close()

    @property
    def size(self) -> int:
        """Approximate size of the times, in bytes."""
        values = 2 * self.service.count + self.waited.count
        return 4 * values + OVERHEAD * (2 + len(self.workers))


class Window(NamedTuple):
    """The slices that cover the last seconds."""

    seconds: float
    """Seconds covered: `asked` and up to STEP more, or fewer if the history is shorter."""
    asked: float
    since: Counters
    slices: list[Slice]

    def times(self, worker: str | None = None) -> list[Sequence[float]]:
        """Return the service times, of one worker or of all, as sorted runs."""
        if worker is None:
            return _together(each.service for each in self.slices)
        return _together(times for each in self.slices if (times := each.workers.get(worker)))


def _together(parts: Iterable[Runs]) -> list[Sequence[float]]:
    return list(chain.from_iterable(part.runs for part in parts))


class History:
    """The history of one service. `began`, its start, and every `now` are in seconds since the epoch."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.slices: deque[Slice] = deque([Slice(int(began // STEP), Counters())])
        self.minutes: deque[HistoryRow] = deque(maxlen=MINUTES)
        self.seconds: deque[SecondRow] = deque(maxlen=SECONDS)
        self.ticks = 0
        """Number of rows added to `seconds` since the start."""
        self._size = 0  # of the closed slices
        self._second = Runs()  # service times since the last tick
        self._ticked = self._followed = Counters()

    @property
    def size(self) -> int:
        """Approximate size of all times, in bytes."""
        return self._size + self.slices[-1].size

    def follow(self, stats: Stats, now: float) -> None:
        """Add the times of the requests that have ended since the last call."""
        stats.settle()
        number = int(now // STEP)
        if number > self.slices[-1].number:
            self._begin(number, self._followed)
        times, waits = stats.take_times()
        self.slices[-1].add(times, waits)
        for values in times.values():
            self._second.add(values)
        self._followed = counters_of(stats)

    def _begin(self, number: int, before: Counters) -> None:
        """Close the current slice and begin another. Drop slices older than LONGEST, or beyond KEPT bytes."""
        over = self.slices[-1]
        over.close()
        self._size += over.size
        if over.number * STEP // 60 != number * STEP // 60:
            self._close_minute(over.number * STEP // 60, before)
        self.slices.append(Slice(number, before))
        oldest = number - LONGEST // STEP - 1
        while len(self.slices) > 2 and (self.slices[0].number < oldest or self._size > KEPT):
            self._size -= self.slices.popleft().size

    def _close_minute(self, minute: int, until: Counters) -> None:
        slices = [each for each in self.slices if each.number * STEP // 60 == minute]
        self.minutes.append(row_of(slices, minute * 60, 60, until))

    def tick(self, stats: Stats, locked: int, waiting: int, now: float) -> None:
        """Add a row to `seconds`. Call this once per second with the locks held and the requests queued."""
        self.follow(stats, now)
        current, before = self.slices[-1], self._ticked
        current.locked, current.waiting = max(current.locked, locked), max(current.waiting, waiting)
        self._ticked = after = self._followed
        second, self._second = self._second, Runs()
        errors = after.errors - before.errors + after.refused - before.refused
        p95 = quantile_of_runs(second.runs, 0.95)
        self.seconds.append(SecondRow(after.exchanges - before.exchanges, round(p95, 5), locked, waiting, errors))
        self.ticks += 1

    def window(self, seconds: float, now: float) -> Window:
        """Return the slices of the last `seconds`. Call `follow` first."""
        oldest = int((now - min(seconds, LONGEST)) // STEP)
        slices = [each for each in self.slices if each.number >= oldest] or [self.slices[-1]]
        covered = max(now - max(self._began, slices[0].number * STEP), 1.0)
        return Window(covered, seconds, slices[0].before, slices)

    def rows(self, step: int, since: float, most: int) -> list[HistoryRow]:
        """Return at most `most` rows that end after `since`, oldest first.

        There is one row per slice, or per minute if `step` is 60. Call `follow` first.
        """
        if step != STEP:
            return [row for row in self.minutes if row.when + step > since][:most]
        found = [number for number, each in enumerate(self.slices) if (each.number + 1) * STEP > since][:most]
        return [self._row(number) for number in found]

    def _row(self, number: int) -> HistoryRow:
        each = self.slices[number]
        last = number == len(self.slices) - 1
        until = self._followed if last else self.slices[number + 1].before
        return row_of([each], each.number * STEP, STEP, until)


def row_of(slices: Sequence[Slice], when: float, seconds: float, until: Counters) -> HistoryRow:
    """Return one row for all of these slices (at least one). The row begins at `when`."""
    service, waited = _together(each.service for each in slices), _together(each.waited for each in slices)
    before = slices[0].before
    return HistoryRow(
        when=when,
        seconds=seconds,
        requests=until.exchanges - before.exchanges,
        errors=until.errors - before.errors,
        refused=until.refused - before.refused,
        locked=max(each.locked for each in slices),
        waiting=max(each.waiting for each in slices),
        p50=round(quantile_of_runs(service, 0.5), 5),
        p95=round(quantile_of_runs(service, 0.95), 5),
        slowest=round(max((run[-1] for run in service), default=0.0), 5),
        waited50=round(quantile_of_runs(waited, 0.5), 5),
        waited95=round(quantile_of_runs(waited, 0.95), 5),
        longest=round(max((run[-1] for run in waited), default=0.0), 5),
        service_heat=heat_of(service),
        waited_heat=heat_of(waited),
    )


def heat_of(runs: Iterable[Sequence[float]]) -> tuple[int, ...]:
    """Return the values as a histogram: one count for each of HEAT_BOUNDS, and a last one for larger values.

    The result begins with the index of the first count that is not 0, followed by the counts from there to the last one
    that is not 0: `(3, 1, 0, 7)`. Empty without values.
    """
    counts = [0] * (len(HEAT_BOUNDS) + 1)
    for run in runs:
        before = 0
        for index, bound in enumerate(HEAT_BOUNDS):
            if before == len(run):
                break
            up_to = bisect_right(run, bound, before)
            counts[index] += up_to - before
            before = up_to
        counts[-1] += len(run) - before
    filled = [index for index, count in enumerate(counts) if count]
    return (filled[0], *counts[filled[0] : filled[-1] + 1]) if filled else ()
