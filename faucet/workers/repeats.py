"""Leave out of the log what a failed start has written before.

A program that cannot start is started again and again, and writes the same each time. Once is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from faucet.units import counted

LINES_LIMIT = 200
"""Lines of each stream of a start that are compared; what comes after them is new."""

_NUMBER = re.compile(r"[0-9]+")


class StartOutput:
    """What one start writes, until it has succeeded or failed. `report` gets a sentence on what was left out."""

    def __init__(self, report: Callable[[str], None], before: StartOutput | None = None) -> None:
        """Compare with the output `before`, if there is some."""
        self._report = report
        self._before = before.lines if before is not None else {}
        self._left_out = 0
        self._ended = False
        self.lines: dict[str, list[str]] = {"out": [], "err": []}
        """The first lines by stream; numbers are left out, since ports, pids and times differ."""

    def is_new(self, stream: str, line: str) -> bool:
        """Return whether a line is to be logged: it, or one before it, was not there before."""
        if self._ended:
            return True
        lines = self.lines[stream]
        if len(lines) < LINES_LIMIT:
            lines.append(_NUMBER.sub("#", line))
            if self._before.get(stream, [])[: len(lines)] == lines:
                self._left_out += 1
                return False
        self._tell()
        return True

    def end(self) -> None:
        """Treat all further lines as new: the start has succeeded or failed."""
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        if self._left_out:
            self._report(f"{counted(self._left_out, 'line')} of output as in the start before")
            self._left_out = 0
