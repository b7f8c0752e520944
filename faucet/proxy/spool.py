"""Temporary files for messages that are longer than their buffer, so that no lock waits for a client.

Without a file, a body longer than `--buffer-request` would be sent to the worker only as fast as its client sends it,
and a response longer than `--buffer-response` would be read only as fast as its client reads it. The files have no
name, are read in the order in which they were written, and end with the connection. If there is no directory on a disk,
or no room left, messages are streamed instead.

Reads and writes are synchronous calls in the loop: they hit the page cache, as those of nginx do, and a thread would
cost more. A disk that cannot keep up blocks all requests during a write. After a write that slow, nothing is written
for a hundred times as long, at most a minute.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path
from time import monotonic
from typing import IO

from faucet.units import format_duration

_log = logging.getLogger("faucet")

PART = 64 * 1024
"""The most bytes that are read at once."""

SLOW_SECONDS = 0.25
"""A write usually takes microseconds. A write that takes longer than this has waited for the disk, and has blocked all
requests. (On a machine that is merely busy, a process may wait for a tenth of a second.)"""

REST_FACTOR, LONGEST_REST = 100, 60.0
"""After a slow write, no file is written for REST_FACTOR times as long, at most LONGEST_REST seconds. So a slow disk
blocks the loop for a hundredth of the time, and a disk that does not respond is tried once a minute."""

_IN_MEMORY = {"tmpfs", "ramfs"}


class SpoolSpace:
    """The disk space that all spool files together may take. `directory` is None: there are no spool files."""

    def __init__(self, directory: Path | None, limit: int) -> None:
        self.directory = directory
        self.limit = limit if directory is not None else 0
        self.used = 0
        self.files = 0
        self._told = False
        self._rests_until = 0.0

    def open(self) -> Spool | None:
        """Create a file; None if there is no room, or it cannot be created."""
        began = monotonic()
        if self.used >= self.limit or began < self._rests_until:
            return None
        try:
            return Spool(self, tempfile.TemporaryFile(dir=self.directory, buffering=0))
        except OSError as error:
            self.failed(error)
            return None
        finally:
            self._took(monotonic() - began)

    def write(self, file: IO[bytes], data: bytes, at: int) -> bool:
        """Write `data` at offset `at` of a file. False if there is no room or it fails; then no byte of it counts."""
        began = monotonic()
        if self.used + len(data) > self.limit or began < self._rests_until:
            return False
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(file.fileno(), memoryview(data)[done:], at + done)
        except OSError as error:
            self.failed(error)
            return False
        finally:
            self._took(monotonic() - began)
        self.used += len(data)
        return True

    def _took(self, seconds: float) -> None:
        """Check how long an operation on the disk took. After a slow one, write no files for a while."""
        if seconds > SLOW_SECONDS:
            rest = min(REST_FACTOR * seconds, LONGEST_REST)
            self._rests_until = monotonic() + rest
            _log.warning(
                "the disk of %s kept all requests waiting for %s: no temporary files for %s. Meanwhile workers wait "
                "for clients whose messages are longer than the buffers. Name a faster disk with --spool-dir",
                self.directory, format_duration(seconds), format_duration(rest),
            )  # fmt: skip

    def failed(self, error: OSError) -> None:
        """A file could not be created or written. Log that only once: requests are still served, only more slowly."""
        if not self._told:
            self._told = True
            _log.warning(
                "no temporary files in %s (%s): workers wait for clients whose messages are longer than the buffers. "
                "Name another directory with --spool-dir",
                self.directory, error.strerror or error,
            )  # fmt: skip


class Spool:
    """One temporary file: a queue of bytes, which can be read again from its start."""

    __slots__ = ("_file", "_read", "_space", "_written")

    def __init__(self, space: SpoolSpace, file: IO[bytes]) -> None:
        self._space = space
        self._file = file
        self._read = 0
        self._written = 0
        space.files += 1

    @property
    def size(self) -> int:
        """The number of bytes that have not been read yet."""
        return self._written - self._read

    def append(self, data: bytes) -> bool:
        """Append all of `data`, or nothing and return False if there is no room for it."""
        written = self._space.write(self._file, data, self._written)
        if written:
            self._written += len(data)
        return written

    def read(self, size: int = PART) -> bytes:
        """Return the next bytes, at most `size`; empty if there are none."""
        data = os.pread(self._file.fileno(), min(size, self.size), self._read)
        self._read += len(data)
        return data

    def rewind(self) -> None:
        """Read from the start again."""
        self._read = 0

    def close(self) -> None:
        """Delete the file. Idempotent."""
        if not self._file.closed:
            self._file.close()
            self._space.used -= self._written
            self._space.files -= 1


def directory_on_disk(named: Path | None) -> Path | None:
    """Return the directory for temporary files: `named`, or else the first that is writable and on a disk, or None.

    Files in a directory in memory (tmpfs) would use the memory that they are to save.
    """
    if named is not None:
        return named
    directories = [Path("/var/tmp")]
    with contextlib.suppress(OSError):  # no directory can be written to
        directories.append(Path(tempfile.gettempdir()))
    for directory in directories:
        if os.access(directory, os.W_OK | os.X_OK) and file_system(directory) not in _IN_MEMORY:
            return directory
    return None


def file_system(directory: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system of `directory`; empty if it is unknown."""
    try:
        lines = [line.split(" ") for line in mounts.read_text("utf-8", "surrogateescape").splitlines()]
        where = directory.resolve()
    except OSError:
        return ""
    found = [(len(Path(line[1]).parts), line[2]) for line in lines if where.is_relative_to(line[1])]
    # Of two mounts in one place, the later one counts.
    return max(reversed(found), key=lambda each: each[0])[1] if found else ""
