"""The black box: a service records the last hour of itself, as a monitor would see it, for `faucet replay`.

Once a second it writes what has changed to a file, through a thread: a full or slow disk delays nobody. What was
written is there after any end of the process. The file is rotated by time and by size, and takes no more than it may.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from faucet.control.recording import Writer
from faucet.control.subscription import Subscriber
from faucet.log.writer import FileOutput, Sink
from faucet.status.collect import Runtime

_log = logging.getLogger("faucet")

INTERVAL = 1.0
"""Seconds between two updates. They take about 1 ms, as those to a monitor."""

KEPT = 8
"""Parts besides the one that is written: FILE.1 to FILE.8."""

PART_SECONDS = 450.0
"""Seconds after which the next part begins: eight of them are an hour."""


class PartOutput(FileOutput):
    """A file that is rotated by size and by time."""

    def __init__(self, path: Path, size: int) -> None:
        """Open the file at `path`; all its parts together take `size` bytes at most. Raises OSError."""
        super().__init__(path, max(size // (KEPT + 1), 1), KEPT)
        self._next = monotonic() + PART_SECONDS

    def write(self, batch: bytes) -> None:
        """Write to the file, or to the next one. Raises OSError."""
        if monotonic() >= self._next:
            with suppress(OSError):
                self.rotate()
            self._next = monotonic() + PART_SECONDS
        super().write(batch)


class BlackBox:
    """The black box of one runtime."""

    def __init__(self, runtime: Runtime, path: Path, size: int, redact: Callable[[str], str] | None) -> None:
        """Open the file, and record from now on. `redact` hides what must not be written. Raises OSError."""
        self._subscriber = Subscriber(runtime)
        self._writer = Writer()
        self._redact = redact or str
        output = PartOutput(path, size)
        self._sink: Sink[str] = Sink(output, on_trouble=lambda text: _log.warning("black box: %s", text))
        self._sink.write("")  # ends a line that was cut off when the process before was killed
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._tick)
        try:
            self._record()
        except Exception:  # the next update may succeed
            _log.exception("recording to the black box failed")

    def _record(self) -> None:
        for message in self._subscriber.updates():
            for line in self._writer.lines(message):
                self._sink.write(self._redact(line.decode().rstrip("\n")))

    def close(self) -> None:
        """Record what has happened since the last update, and close the file."""
        if self._timer is not None:
            self._timer.cancel()
        self._record()
        self._sink.close()
