"""A temporary directory for each worker process, removed when the process has ended, however it ended.

R keeps the files of its session in a directory below TMPDIR, and leaves it behind when it is killed. So each process
gets its own TMPDIR: `/tmp/faucet-tmp-PID-…/worker-3-17`. Directories that an earlier Faucet could not remove, e.g.
because of a power failure, are removed at the next start: only those of this user, without a lock or a running process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
import tempfile
from collections.abc import Callable

from faucet import tasks
from faucet.workers.kin import family, scan
from faucet.workers.removal import remove_tree

_log = logging.getLogger("faucet")

PREFIX = "faucet-tmp-"

OWNER = "owner"
"""The file in a service's directory that names the service."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_SERVICE = re.compile(r"[0-9a-f]{32}")

_SHORTAGE = (errno.EMFILE, errno.ENFILE)


class Scratch:
    """The temporary directories of one service."""

    def __init__(self, service: str, on_made: Callable[[str], None]) -> None:
        self.root = ""
        """The directory that contains the others; empty until it is needed, and if none can be made."""
        self._service = service
        self._on_made = on_made
        self._lock = -1
        self._complained = False
        self._removals: set[asyncio.Task[None]] = set()

    def make(self, name: str) -> str:
        """Make a directory and return its path; empty if that is impossible, which is logged once. Raises OSError if no
        file descriptors are left."""
        problem: OSError | None = None
        for _ in range(2):
            try:
                if not self.root:
                    self._make_root()
                path = f"{self.root}/{name}"
                os.mkdir(path, 0o700)
            except OSError as error:
                if error.errno in _SHORTAGE:
                    raise
                problem = error
                self._forget_root()  # it was removed, or is no longer writable
            else:
                self._complained = False
                return path
        if not self._complained:
            self._complained = True
            slots = ", ".join(temporary_directories()) or "nowhere"
            _log.warning(
                "cannot make a temporary directory (%s; tried %s): workers share TMPDIR. "
                "Make one of these writable, or set TMPDIR to a directory that is",
                problem.strerror if problem else "?", slots,
            )  # fmt: skip
        return ""

    def _make_root(self) -> None:
        """Make the directory that contains the others. Raises OSError."""
        problem = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        for parent in temporary_directories():
            try:
                path = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
            except OSError as error:
                if error.errno in _SHORTAGE:
                    raise
                problem = error
                continue
            try:
                self._own(path)
            except OSError as error:
                remove_tree(path)
                problem = error
                continue
            self.root = path
            self._on_made(path)
            return
        raise problem

    def _own(self, path: str) -> None:
        """Lock the directory, then write the name of the service into it: `sweep` needs that file. Raises OSError.

        The lock also keeps systemd-tmpfiles from cleaning the directory.
        """
        self._lock = os.open(path, _DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # not every file system supports locks
                fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            owner = os.open(f"{path}/{OWNER}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(owner, self._service.encode())
            finally:
                os.close(owner)
        except BaseException:
            self._unlock()
            raise

    def _forget_root(self) -> None:
        self._unlock()
        self.root = ""

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self, path: str) -> None:
        """Remove a directory in a thread, since that may take long."""
        if path:
            task = tasks.start(self._remove(path), f"removal of {path}")
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)

    async def _remove(self, path: str) -> None:
        if not await asyncio.to_thread(remove_tree, path):
            _log.warning("the temporary directory %s of a worker that has ended cannot be removed completely", path)

    async def removed(self) -> None:
        """Wait for all removals in progress."""
        while self._removals:
            await asyncio.wait(self._removals)

    def close(self) -> None:
        """Release the lock; the reaper has removed the directory with all that was left in it."""
        self._forget_root()


def temporary_directories() -> list[str]:
    """Return the directories to try, best first."""
    wanted = [os.environ.get(name, "") for name in ("TMPDIR", "TMP", "TEMP")]
    absolute = [path for path in [*wanted, "/tmp", "/var/tmp"] if path.startswith("/")]
    return list(dict.fromkeys(path.rstrip("/") or "/" for path in absolute))


def sweep() -> list[str]:
    """Remove the directories of Faucets that were killed together with their reapers; return their paths. Blocks."""
    swept = []
    for parent in temporary_directories():
        with contextlib.suppress(OSError):
            for name in os.listdir(parent):
                path = f"{parent}/{name}"
                if name.startswith(PREFIX) and _sweep_one(path):
                    swept.append(path)
    return swept


def _sweep_one(path: str) -> bool:
    """Remove a directory if it is ours and abandoned; return whether it was, and is gone."""
    try:
        descriptor = os.open(path, _DIRECTORY)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owner = os.open(OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
        try:
            service = os.read(owner, 64).decode("ascii", "replace")
        finally:
            os.close(owner)
        if not _SERVICE.fullmatch(service) or family(scan(), service, {}):
            return False  # its workers are still running
        return remove_tree(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
