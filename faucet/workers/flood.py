"""Limit how many lines of a worker are logged per second (`--log-worker-rate`), so that output delays no request.

Logging a line takes the event loop about ten microseconds, and no request moves meanwhile; a worker that prints in a
loop writes millions of lines a second. The rate is measured per second: if the second before was above the limit, only
one line of N is logged in this one, and never more than the limit. The others are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

WINDOW = 1.0
"""Seconds in which lines are counted."""

REPORT_EVERY = 10.0
"""Seconds between two reports of a flood that goes on."""


class Flood:
    """Decides which lines of one worker are kept. Times are seconds of one monotonic clock."""

    def __init__(self, rate: int, report: Callable[[str], None]) -> None:
        """Keep at most `rate` lines a second; 0: all. `report` gets a sentence on what was left out."""
        self._rate = rate
        self._report = report
        self._since = float("-inf")
        self._reported = float("-inf")
        self._one_of = 1
        self._lines = self._kept = 0  # of this window
        self._peak = self._dropped = 0  # since the last report

    @property
    def on(self) -> bool:
        """Whether more lines came in this window than are kept."""
        return bool(self._rate) and self._lines > self._rate

    def keep(self, lines: list[bytes], now: float) -> list[bytes]:
        """Return those of `lines`, which were read at `now`, that are to be logged."""
        if not self._rate:
            return lines
        if now - self._since >= WINDOW:
            self._begin(now)
        self._lines += len(lines)
        first = (len(lines) - self._lines) % self._one_of  # every N-th line of the window, across calls
        kept = lines[first :: self._one_of][: self._rate - self._kept]
        self._kept += len(kept)
        self._dropped += len(lines) - len(kept)
        return kept

    def _begin(self, now: float) -> None:
        """Begin a window. Report a flood in its second window, then every REPORT_EVERY seconds, and when it ends."""
        lasted = now - self._since
        per_second = self._lines / lasted if lasted < 2 * WINDOW else 0.0
        self._peak = max(self._peak, self._lines)
        self._one_of = max(ceil(per_second / self._rate), 1)
        self._since, self._lines, self._kept = now, 0, 0
        if self._dropped and (self._one_of == 1 or now - self._reported >= REPORT_EVERY):
            self.tell(now)

    def tell(self, now: float) -> None:
        """Report what was left out since the last report, if anything was."""
        if self._dropped:
            self._reported = now
            peak = max(self._peak, self._lines)
            text = f"writes up to {peak:,} lines a second; {self._dropped:,} are left out of the log"
            self._report(f"{text} (--log-worker-rate {self._rate})")
            self._peak = self._dropped = 0
