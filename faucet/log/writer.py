"""Where the log's lines go: collected for a moment, and written together by a thread of their own.

The thread holds nothing but finished bytes. A pipe that nobody reads, or a disk that is full, stops it and nobody else:
what does not fit is dropped and counted, and the log says so as soon as it can be written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Entry = TypeVar("Entry")

FLUSH_SECONDS = 0.05
"""How long a line may wait for others to be written with it."""

TOGETHER = 64
"""Entries whose text is made together. Not more, since all requests wait for so long."""

BACKLOG_LIMIT = 8 << 20
"""Bytes that may wait for a stuck output."""

CLOSE_SECONDS = 2.0
"""How long a stuck output may hold up the end."""


class Output:
    """A file descriptor that was open before us: standard error."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, batch: bytes) -> None:
        """Write all of it. Raises OSError, with an unknown part of it written."""
        view = memoryview(batch)
        while view:
            try:
                view = view[os.write(self.descriptor, view) :]
            except BlockingIOError:
                threading.Event().wait(FLUSH_SECONDS)

    def reopen(self) -> None:
        """Only for files."""

    def close(self) -> None:
        """It is not ours to close."""


class FileOutput(Output):
    """A file that is appended to. When it has `max_size` bytes, it becomes `name.1`, that `name.2`, … up to `keep`."""

    def __init__(self, path: Path, max_size: int = 0, keep: int = 5) -> None:
        """`max_size` 0: it grows for ever. Raises OSError."""
        self._path = path.absolute()
        self._max_size = max_size
        self._keep = keep
        self._reopen = threading.Event()
        super().__init__(self._open())

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        status = os.fstat(descriptor)
        self._size = status.st_size
        self._regular = stat.S_ISREG(status.st_mode)  # a device must not be renamed
        return descriptor

    def reopen(self) -> None:
        """Somebody has renamed the file: go on in a new one. Called from any thread; done before the next write."""
        self._reopen.set()

    def write(self, batch: bytes) -> None:
        """As Output.write. Where the file can be neither rotated nor opened anew, it goes on in the one it has."""
        with contextlib.suppress(OSError):
            if self._reopen.is_set():
                self._replace_descriptor()
                self._reopen.clear()
            if self._max_size and self._regular and self._size and self._size + len(batch) > self._max_size:
                self._rotate()
        super().write(batch)
        self._size += len(batch)

    def _rotate(self) -> None:
        """The file at hand is moved first: if that fails, no older one has been touched."""
        with contextlib.suppress(FileNotFoundError):  # somebody has taken it away
            if self._keep:
                aside = self._path.with_name(f"{self._path.name}.0")
                self._path.rename(aside)
                for number in range(self._keep - 1, -1, -1):
                    with contextlib.suppress(FileNotFoundError):
                        self._numbered(number).rename(self._numbered(number + 1))
            else:
                self._path.unlink()
        self._replace_descriptor()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _replace_descriptor(self) -> None:
        old, self.descriptor = self.descriptor, self._open()
        os.close(old)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


class Sink(Generic[Entry]):
    """Takes lines, and entries that `line_of` makes lines of, and has them written in the order they came."""

    def __init__(self, output: Output, line_of: Callable[[Entry], str] = str) -> None:
        self.output = output
        self._line_of = line_of
        self._lines: list[str] = []
        self._entries: list[Entry] = []  # to come behind the lines
        self._timer: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._pending = 0  # bytes handed to the thread and not written
        self._dropped = 0  # lines that never got to the thread
        self._failed = 0  # lines that the thread could not write
        self._failure = ""
        self._thread = threading.Thread(target=self._write_batches, name="faucet-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add one line, without its newline."""
        self._render()
        self._lines.append(line)
        if self._timer is None:
            self._flush_soon()

    def add(self, entry: Entry) -> None:
        """Add one entry. Its text is made with that of others: that is cheaper, and nobody waits for it."""
        entries = self._entries
        entries.append(entry)
        if self._timer is None:
            self._flush_soon()
        elif len(entries) >= TOGETHER:
            self._render()

    def _render(self) -> None:
        entries, self._entries = self._entries, []
        self._lines.extend(map(self._line_of, entries))

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._timer = loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand what has been collected to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._render()
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._pending > BACKLOG_LIMIT:
            self._dropped += len(lines)
            return
        if self._dropped:
            lines.append(f"log: {self._dropped} lines were dropped, since nobody read them")
            self._dropped = 0
        batch = ("\n".join(lines) + "\n").encode("utf-8", "replace")
        self._pending += len(batch)
        self._batches.put((batch, len(lines)))

    def close(self) -> None:
        """Write what is left, and end the thread; a stuck output is given up after a while."""
        self.flush()
        self._batches.put(None)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self.output.close()

    def _write_batches(self) -> None:
        while (item := self._batches.get()) is not None:
            batch, lines = item
            self._pending -= len(batch)
            if self._failed:
                # A line that was cut in the middle is ended first.
                batch = f"\nlog: {self._failed} lines were dropped: {self._failure}\n".encode() + batch
            try:
                self.output.write(batch)
                self._failed = 0
            except OSError as error:
                self._failed += lines
                self._failure = error.strerror or str(error)
