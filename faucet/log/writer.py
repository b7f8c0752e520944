"""Writes the log: lines are collected for a moment, and written together by a thread of their own.

The thread holds only finished bytes. An unread pipe or a full disk blocks it and nothing else: what does not fit is
dropped and counted, and the log says so as soon as it can be written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import queue
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Entry = TypeVar("Entry")

FLUSH_SECONDS = 0.05
"""Seconds that a line may wait for others to be written with it."""

TOGETHER = 64
"""Entries that are formatted together. Not more, since formatting delays all requests."""

BACKLOG_LIMIT = 8 << 20
"""Bytes that may wait for a stuck output; beyond that, lines are dropped."""

CLOSE_SECONDS = 2.0
"""Seconds that a stuck output may delay the exit."""


UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
"""Errors of the file system that may be temporary, unlike a mistyped name."""


MODE = 0o640
"""Permissions of a new log file, before the umask. Not readable by all users, since URLs may contain secrets."""


class Output:
    """Writes to a file descriptor that it does not own: standard error."""

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
        """Do nothing: only files are reopened."""

    def close(self) -> None:
        """Do nothing: the descriptor is not ours to close."""


class FileOutput(Output):
    """Appends to a file. At `max_size` bytes it is renamed to `name.1`, that to `name.2`, … up to `keep`."""

    def __init__(self, path: Path, max_size: int = 0, keep: int = 5, instead: int | None = None) -> None:
        """Open the file at `path`. `max_size` 0: never rotate. Raises OSError.

        If the file cannot be opened for an error in UNWRITABLE, lines go to the descriptor `instead` until it can.
        """
        self._path = path.absolute()
        self._max_size = max_size
        self._keep = keep
        self._reopen = threading.Event()
        self.problem = ""
        """Why it could not be opened at first."""
        try:
            descriptor = self._open()
        except OSError as error:
            if instead is None or error.errno not in UNWRITABLE:
                raise
            self.problem = error.strerror or str(error)
            self._size, self._regular = 0, False
            descriptor = os.dup(instead)
            self._reopen.set()
        super().__init__(descriptor)

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        status = os.fstat(descriptor)
        self._size = status.st_size
        self._regular = stat.S_ISREG(status.st_mode)  # a device must not be renamed
        return descriptor

    def reopen(self) -> None:
        """Reopen the file, which was renamed, before the next write. Thread-safe."""
        self._reopen.set()

    def write(self, batch: bytes) -> None:
        """Write as Output does. If the file can be neither rotated nor reopened, keep writing to the old one."""
        with contextlib.suppress(OSError):
            if self._reopen.is_set():
                self._replace_descriptor()
                self._reopen.clear()
            if self._max_size and self._regular and self._size and self._size + len(batch) > self._max_size:
                self.rotate()
        super().write(batch)
        self._size += len(batch)

    def rotate(self) -> None:
        """Rotate the files. The current one is moved first: if that fails, no older one has been touched.

        Raises OSError.
        """
        with contextlib.suppress(FileNotFoundError):  # it was deleted
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
    """Writes lines, and entries that `line_of` formats, in their order, by a thread."""

    def __init__(
        self, output: Output, line_of: Callable[[Entry], str] = str, on_trouble: Callable[[str], None] = lambda _: None
    ) -> None:
        """Start the thread. `on_trouble` is called with a message when writing fails, and when it works again."""
        self.output = output
        self._on_trouble = on_trouble
        self._in_trouble = False
        self._line_of = line_of
        self._lines: list[str] = []
        self._entries: list[Entry | str] = []  # to be appended to the lines; entries are not formatted yet
        self._timer: asyncio.TimerHandle | None = None
        self._batches: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        # Bytes passed to the thread, and bytes it has dealt with. One thread only changes each counter, since `+=` is
        # not atomic: a counter that both change would drift.
        self._handed = self._done = 0
        self._dropped = 0  # lines that never got to the thread
        self._failed = 0  # lines that the thread could not write
        self._failure = ""
        self._lost_before = 0  # lines of both kinds that the log has reported
        self._thread = threading.Thread(target=self._write_batches, name="faucet-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add one line, without its newline."""
        self.add(line)

    def add(self, entry: Entry | str) -> None:
        """Add one entry, which is formatted later, together with others: that is cheaper, and delays no request.

        Changes to the entry until then are in its line, too.
        """
        entries = self._entries
        entries.append(entry)
        if self._timer is None:
            self._flush_soon()
        elif len(entries) >= TOGETHER:
            self._render()

    def _render(self) -> None:
        entries, self._entries = self._entries, []
        line_of = self._line_of
        self._lines.extend([entry if isinstance(entry, str) else line_of(entry) for entry in entries])

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._timer = loop.call_later(FLUSH_SECONDS, self.flush)

    @property
    def pending(self) -> int:
        """Bytes that wait for the thread to write them."""
        return self._handed - self._done

    def flush(self) -> None:
        """Hand the collected lines to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._render()
        lines, self._lines = self._lines, []
        if not lines:
            return
        self._report_trouble()
        if self.pending > BACKLOG_LIMIT:
            self._dropped += len(lines)
            return
        if self._dropped:
            lines.append(f"log: {self._dropped} lines were dropped, since the output was stuck")
            self._lost_before += self._dropped
            self._dropped = 0
        batch = ("\n".join(lines) + "\n").encode("utf-8", "replace")
        self._handed += len(batch)
        self._batches.put((batch, len(lines)))

    def lost(self) -> int:
        """Return the number of lines that could not be written since the start."""
        return self._lost_before + self._dropped + self._failed

    def trouble(self) -> str:
        """Return why lines cannot be written; empty if they can."""
        if self._failed:
            return self._failure
        return "the output is stuck" if self._dropped else ""

    def _report_trouble(self) -> None:
        trouble = self._failed > 0
        if trouble != self._in_trouble:
            self._in_trouble = trouble
            self._on_trouble(f"the log cannot be written ({self._failure}): lines are dropped and counted"
                             if trouble else "the log can be written again")  # fmt: skip

    def close(self) -> None:
        """Write what is pending and end the thread, but wait at most CLOSE_SECONDS for a stuck output."""
        self.flush()
        self._batches.put(None)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self.output.close()

    def _write_batches(self) -> None:
        while (item := self._batches.get()) is not None:
            batch, lines = item
            size = len(batch)
            if self._failed:
                # A line that was cut in the middle is ended first.
                batch = f"\nlog: {self._failed} lines were dropped: {self._failure}\n".encode() + batch
            try:
                self.output.write(batch)
                self._lost_before += self._failed
                self._failed = 0
            except OSError as error:
                self._failed += lines
                self._failure = error.strerror or str(error)
            self._done += size
