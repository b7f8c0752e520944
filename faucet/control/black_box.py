"""The black box: a service records its last hour, as a monitor would see it, for `faucet replay`.

Once a second, the changes are written to a file by a thread, so that a full or slow disk delays no request. The file
stays when the process ends or crashes. It is rotated by time and by size, and stays below its size limit.
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
"""Seconds between two updates. An update takes about 1 ms, like one for a monitor."""

KEPT = 8
"""Rotated parts that are kept besides the current file: FILE.1 to FILE.8."""

PART_SECONDS = 450.0
"""Seconds after which the next part begins: eight of them are an hour."""


class PartOutput(FileOutput):
    """A file that is rotated by size and by time."""

    def __init__(self, path: Path, size: int) -> None:
        """Open the file at `path`. All parts together take at most `size` bytes. Raises OSError."""
        super().__init__(path, max(size // (KEPT + 1), 1), KEPT)
        self._next = monotonic() + PART_SECONDS

    def write(self, batch: bytes) -> None:
        """Write to the file; rotate it first if PART_SECONDS have passed. Raises OSError."""
        if monotonic() >= self._next:
            with suppress(OSError):
                self.rotate()
            self._next = monotonic() + PART_SECONDS
        super().write(batch)


class BlackBox:
    """The black box of one runtime."""

    def __init__(self, runtime: Runtime, path: Path, size: int, redact: Callable[[str], str] | None) -> None:
        """Open the file and start to record. `redact` removes secrets from each line. Raises OSError."""
        self._subscriber = Subscriber(runtime)
        self._writer = Writer()
        self._redact = redact or str
        output = PartOutput(path, size)
        self._sink: Sink[str] = Sink(output, on_trouble=lambda text: _log.warning("black box: %s", text))
        self._sink.write("")  # ends a line that was cut off when a previous process was killed
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
        """Record a last update, and close the file."""
        if self._timer is not None:
            self._timer.cancel()
        self._record()
        self._sink.close()
