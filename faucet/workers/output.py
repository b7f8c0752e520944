"""The output of a worker, split into lines.

Both streams are always read: a full pipe would block the worker. A worker that writes more than can be logged is read
with pauses, which slows it down and not the requests of others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from faucet.workers.flood import Flood

LINE_LIMIT = 8 * 1024
"""Bytes of one line of output; a longer one is cut into several."""

REST_SECONDS = 1.0
"""How long the beginning of a line may wait for its end before it is shown."""

TURN_LINES = 100
"""Lines that are logged in one turn of the event loop, about a millisecond."""

LAST_LINES = 20
"""Lines at the end of a worker's output that are kept in any case, also in a flood: they may tell why it ended."""

PAUSE = 0.02
"""Seconds between two turns of a flood: enough to read three million bytes a second, and for others to be served."""


class Output(asyncio.Protocol):
    """Cuts a stream into lines of text. Bytes that are not UTF-8 become U+FFFD."""

    _transport: asyncio.ReadTransport

    def __init__(self, on_line: Callable[[str], None], flood: Flood | None = None) -> None:
        """Call `on_line` with each line that `flood` keeps; without one, with all."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._on_line = on_line
        self._flood = flood or Flood(0, lambda _: None)
        self._ahead: deque[bytes] = deque()  # lines that are logged in later turns; not read meanwhile
        self._left_out: list[bytes] = []  # of the latest lines: if they are the last, they tell why it ended
        self._turn: asyncio.TimerHandle | None = None
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            *beginning, self._rest = _pieces(self._rest)
            lines += beginning
        kept = self._flood.keep(lines, self._loop.time())
        if lines:
            self._left_out = _not_in(lines[-LAST_LINES:], kept[-LAST_LINES:])
        self._ahead += kept
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rest:
            self._timer = self._loop.call_later(REST_SECONDS, self._end_rest)
        if self._turn is None:
            self._log_some()

    def _log_some(self) -> None:
        """Log the lines of one turn. Read on at once, or after a pause, if there is more than can be logged."""
        for _ in range(min(TURN_LINES, len(self._ahead))):
            self._emit(self._ahead.popleft())
        if self._ahead or self._flood.on:
            self._transport.pause_reading()
            self._turn = self._loop.call_later(PAUSE, self._next_turn)
        else:
            self._transport.resume_reading()

    def _next_turn(self) -> None:
        self._turn = None
        if self._ahead:
            self._log_some()
        else:
            self._transport.resume_reading()

    def _end_rest(self) -> None:
        """Log text without a line end as a line: it may be the last one before the worker blocks."""
        rest, self._rest = self._rest, b""
        if rest:
            self._ahead.append(rest)
        if self._turn is None:
            self._log_some()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        for timer in (self._timer, self._turn):
            if timer is not None:
                timer.cancel()
        rest = [self._rest] if self._rest else []
        for line in (*self._ahead, *self._left_out, *rest):
            self._emit(line)
        self._flood.tell(self._loop.time())
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Stop reading."""
        self._transport.close()

    def _emit(self, line: bytes) -> None:
        for piece in _pieces(line):
            self._on_line(piece.rstrip(b"\r").decode("utf-8", "replace"))


def _not_in(lines: list[bytes], others: list[bytes]) -> list[bytes]:
    """Return the `lines` that are none of the objects `others`."""
    known = set(map(id, others))
    return [line for line in lines if id(line) not in known]


def _pieces(line: bytes) -> list[bytes]:
    """Return `line`, cut where it is longer than LINE_LIMIT."""
    if len(line) <= LINE_LIMIT:
        return [line]
    return [line[start : start + LINE_LIMIT] for start in range(0, len(line), LINE_LIMIT)]
