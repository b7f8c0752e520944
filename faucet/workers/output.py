"""What a worker writes, cut into lines.

Both streams are read always, since a pipe that nobody reads blocks the worker when it is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

LINE_LIMIT = 8 * 1024
"""Bytes of one line of output; a longer one is cut into several."""

REST_SECONDS = 1.0
"""How long the beginning of a line may wait for its end before it is shown."""


class Output(asyncio.Protocol):
    """Cuts a stream into lines of text. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(self._cut(line))
        self._rest = self._cut(self._rest)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rest:
            self._timer = asyncio.get_running_loop().call_later(REST_SECONDS, self._emit_rest)

    def _emit_rest(self) -> None:
        """A line without an end, perhaps the last one before it blocks: it is shown all the same."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if self._timer is not None:
            self._timer.cancel()
        self._emit_rest()
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()

    def _cut(self, line: bytes) -> bytes:
        """Emit what is too long for one line; what is left of it."""
        while len(line) > LINE_LIMIT:
            self._emit(line[:LINE_LIMIT])
            line = line[LINE_LIMIT:]
        return line

    def _emit(self, line: bytes) -> None:
        self._on_line(line.rstrip(b"\r").decode("utf-8", "replace"))
