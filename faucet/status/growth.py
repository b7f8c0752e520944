"""Recognize that the memory of a process keeps growing, and guess which requests it grows with.

Only measurements go in, so that all of it can be tested without a process. A process that fills its heap or a cache
grows for a while and then stops; one that leaks goes on. So the lowest value of each of several periods is compared:
garbage that R has not collected yet is not in it. The periods become longer with the age of the process, so slow leaks
are found later than fast ones.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

SETTLES = 120.0
"""Seconds after the first measurement that do not count: the first requests load packages and compile functions."""

PERIOD = 60.0
"""Seconds of a period at first."""

PERIODS = 6
"""Periods that are compared. When there are twice as many, each two become one."""

RISES = PERIODS - 2
"""In so many of the PERIODS - 1 steps the memory must rise; it may fall in none."""

SLACK = 1 << 20
"""Bytes that are no rise and no fall."""

LEAST, SHARE = 32 << 20, 0.2
"""Growth over all periods, in bytes and as a share of the first, that is worth a word."""

NAMES = 50
"""Endpoints that are told apart."""

MOSTLY = 0.6
"""Share of all growth that an endpoint must have been there for, to be named."""

TIMES, ENOUGH = 3.0, 5
"""It must grow by so many times more when the endpoint is there than when it is not, in so many measurements."""


class Leak(NamedTuple):
    """A process whose memory keeps growing."""

    before: int
    after: int
    """Bytes at the beginning and at the end of the periods."""
    seconds: float
    """The length of all periods."""
    endpoint: str = ""
    """The endpoint whose requests it has most likely grown with; empty if that cannot be guessed."""


class _Seen:
    """What was seen while requests of an endpoint were there, or of any."""

    def __init__(self) -> None:
        self.times = 0
        self.growth = 0

    def add(self, growth: int) -> None:
        self.times += 1
        self.growth += growth


class Growth:
    """The memory of one process. Call `see` every few seconds."""

    def __init__(self) -> None:
        self.leak: Leak | None = None
        """What is known as of the last period."""
        self._lows: list[int] = []
        self._low = 0
        self._length = PERIOD
        self._ends: float | None = None
        self._before = 0
        self._all = _Seen()
        self._by_endpoint: dict[str, _Seen] = {}

    def see(self, now: float, size: int, endpoints: Collection[str]) -> None:
        """Add a measurement: `size` bytes, and the endpoints that were there since the one before."""
        if self._ends is None:
            self._ends = now + SETTLES
        if now >= self._ends:
            self._next_period(now)
        self._low = min(self._low or size, size)
        if self._lows and endpoints:
            self._attribute(size - self._before, endpoints)
        self._before = size

    def _attribute(self, growth: int, endpoints: Collection[str]) -> None:
        self._all.add(growth)
        for name in endpoints:
            if name in self._by_endpoint or len(self._by_endpoint) < NAMES:
                self._by_endpoint.setdefault(name, _Seen()).add(growth)

    def _next_period(self, now: float) -> None:
        self._lows.append(self._low)
        self._low, self._ends = 0, now + self._length
        if len(self._lows) == 2 * PERIODS:
            self._lows = [min(pair) for pair in zip(self._lows[::2], self._lows[1::2], strict=True)]
            self._length *= 2
        self.leak = self._judged()

    def _judged(self) -> Leak | None:
        lows = self._lows[-PERIODS:]
        steps = [after - before for before, after in pairwise(lows)]
        rises = sum(step > SLACK for step in steps)
        if len(lows) < PERIODS or min(steps) < -SLACK or rises < RISES:
            return None
        if lows[-1] - lows[0] < max(LEAST, SHARE * lows[0]):
            return None
        return Leak(lows[0], lows[-1], PERIODS * self._length, self._suspect())

    def _suspect(self) -> str:
        found = [(seen.growth, name) for name, seen in self._by_endpoint.items() if self._is_suspect(seen)]
        return max(found)[1] if found else ""

    def _is_suspect(self, seen: _Seen) -> bool:
        others, growth = self._all.times - seen.times, self._all.growth - seen.growth
        if seen.growth <= 0 or seen.growth < MOSTLY * self._all.growth or seen.times < ENOUGH:
            return False
        if len(self._by_endpoint) == 1:
            return True  # there is no other
        return others >= ENOUGH and seen.growth / seen.times >= TIMES * max(growth / others, 0.0)
