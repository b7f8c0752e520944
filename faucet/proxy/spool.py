"""What is longer than its buffer goes to a temporary file, so that no lock waits for a client.

A body longer than `--buffer-request` would else be sent to the worker as fast as its client sends it, and a response
longer than `--buffer-response` be taken from the worker as fast as its client reads it. Files have no name, are
read again in the order in which they were written, and are gone with the connection. Where there is no directory on
a disk, or no room left, everything works as without them.

Reads and writes are done where they are asked for, in the loop: they meet the page cache, as nginx's do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from pathlib import Path
from typing import IO

_log = logging.getLogger("faucet")

PART = 64 * 1024
"""Bytes that are read at once."""

_IN_MEMORY = {"tmpfs", "ramfs"}


class SpoolSpace:
    """The disk space that all spool files together may take. `directory` None: there is none."""

    def __init__(self, directory: Path | None, limit: int) -> None:
        self.directory = directory
        self.limit = limit if directory is not None else 0
        self.used = 0
        self.files = 0
        self._told = False

    def open(self) -> Spool | None:
        """A new file; None if there is no room for one."""
        if self.used >= self.limit:
            return None
        try:
            return Spool(self, tempfile.TemporaryFile(dir=self.directory, buffering=0))
        except OSError as error:
            self.failed(error)
            return None

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
        if self._space.used + len(data) > self._space.limit:
            return False
        at = self._written
        try:
            while at < self._written + len(data):
                at += os.pwrite(self._file.fileno(), memoryview(data)[at - self._written :], at)
        except OSError as error:
            self._space.failed(error)
            return False
        self._written = at
        self._space.used += len(data)
        return True

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
