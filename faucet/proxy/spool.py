"""What is longer than its buffer goes to a temporary file, so that no lock waits for a client.

A body longer than `--buffer-request` would else be sent to the worker as fast as its client sends it, and a response
longer than `--buffer-response` be taken from the worker as fast as its client reads it. Files have no name, are
read again in the order in which they were written, and are gone with the connection. Where there is no directory on
a disk, or no room left, everything works as without them.

Reads and writes are done where they are asked for, in the loop: they meet the page cache, as nginx's do, and a thread
would cost more than they do. A disk that cannot keep up stops everybody for as long as one of them takes. So no more is
written to one that has been that slow, for a hundred times as long or a minute.
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
"""Bytes that are read at once."""

SLOW_SECONDS = 0.25
"""A write takes some microseconds. One that takes so long has waited for the disk, and everybody with it. (On a machine
that is merely busy a process may wait for a tenth of a second.)"""

REST_FACTOR, LONGEST_REST = 100, 60.0
"""How many times as long no file is written after that, and for how many seconds at most: a slow disk takes a hundredth
of everybody's time, and one that stands still is tried once a minute."""

_IN_MEMORY = {"tmpfs", "ramfs"}


class SpoolSpace:
    """The disk space that all spool files together may take. `directory` None: there is none."""

    def __init__(self, directory: Path | None, limit: int) -> None:
        self.directory = directory
        self.limit = limit if directory is not None else 0
        self.used = 0
        self.files = 0
        self._told = False
        self._rests_until = 0.0

    def open(self) -> Spool | None:
        """A new file; None if there is no room for one."""
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
        """Write all of `data` at that place of one of the files, or nothing that counts: False if there is no room."""
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
        """Something was written to the disk. If it was slow, let it rest: what is longer is streamed meanwhile."""
        if seconds > SLOW_SECONDS:
            rest = min(REST_FACTOR * seconds, LONGEST_REST)
            self._rests_until = monotonic() + rest
            _log.warning(
                "the disk of %s kept all requests waiting for %s: no temporary files for %s. Meanwhile workers wait "
                "for clients whose messages are longer than the buffers. Name a faster disk with --spool-dir",
                self.directory, format_duration(seconds), format_duration(rest),
            )  # fmt: skip

    def failed(self, error: OSError) -> None:
        """A file could not be made or written. That is told once: what follows from it is only slower."""
        if not self._told:
            self._told = True
            _log.warning(
                "no temporary files in %s (%s): workers wait for clients whose messages are longer than the buffers. "
                "Name another directory with --spool-dir",
                self.directory, error.strerror or error,
            )  # fmt: skip


class Spool:
    """One file: a queue of bytes, which can be read again from its start."""

    __slots__ = ("_file", "_read", "_space", "_written")

    def __init__(self, space: SpoolSpace, file: IO[bytes]) -> None:
        self._space = space
        self._file = file
        self._read = 0
        self._written = 0
        space.files += 1

    @property
    def size(self) -> int:
        """Bytes that were not read yet."""
        return self._written - self._read

    def append(self, data: bytes) -> bool:
        """Write all of `data`, or nothing: False if there is no room for it."""
        written = self._space.write(self._file, data, self._written)
        if written:
            self._written += len(data)
        return written

    def read(self, size: int = PART) -> bytes:
        """The next bytes, `size` at most; empty if there are none."""
        data = os.pread(self._file.fileno(), min(size, self.size), self._read)
        self._read += len(data)
        return data

    def rewind(self) -> None:
        """Read from the start again."""
        self._read = 0

    def close(self) -> None:
        """The file is gone."""
        if not self._file.closed:
            self._file.close()
            self._space.used -= self._written
            self._space.files -= 1


def directory_on_disk(named: Path | None) -> Path | None:
    """Where temporary files go: the directory that was named, or else the first that is on a disk and can be written.

    Files in a directory in memory (tmpfs) would take what the buffers were to save.
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
    """The type of the file system that `directory` is on; empty where nothing tells."""
    try:
        lines = [line.split(" ") for line in mounts.read_text("utf-8", "surrogateescape").splitlines()]
        where = directory.resolve()
    except OSError:
        return ""
    found = [(len(Path(line[1]).parts), line[2]) for line in lines if where.is_relative_to(line[1])]
    # Of two in one place the later one counts.
    return max(reversed(found), key=lambda each: each[0])[1] if found else ""
