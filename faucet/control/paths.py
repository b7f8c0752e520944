"""Where control sockets are: in the user's own runtime directory, one for each port that is served."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

PATH_LIMIT = 100
"""Bytes of a Unix socket's path: 108 on Linux, 104 on macOS, the end included."""


def directory() -> Path:
    """The directory for the sockets of this user. It may not exist yet."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir() and len(runtime) < PATH_LIMIT - 30:
        return Path(runtime) / "faucet"
    return Path(tempfile.gettempdir()) / f"faucet-{os.getuid()}"


def is_private(path: Path) -> bool:
    """Whether nobody else can put a socket into the directory `path`: in /tmp, another user could have made it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def socket_path(port: int) -> Path:
    """Where the runtime that serves on `port` has its socket."""
    return directory() / f"{port}.sock"


def known_sockets() -> list[Path]:
    """The sockets that are there, whether somebody listens or not."""
    where = directory()
    if not is_private(where):
        return []
    return sorted(where.glob("*.sock"))
