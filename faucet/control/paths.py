"""Where control sockets are: in the user's own runtime directory, one for each port that is served."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PATH_LIMIT = 100
"""Bytes of a Unix socket's path: 108 on Linux, 104 on macOS, the end included."""


def directory() -> Path:
    """The directory for the sockets of this user. It may not exist yet."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")  # after `su`, another user's
    if runtime and len(runtime) < PATH_LIMIT - 30 and _usable(runtime):
        return Path(runtime) / "faucet"
    return temporary_directory() / f"faucet-{os.getuid()}"


def temporary_directory() -> Path:
    """Where temporary files go; /tmp if nowhere. Unlike tempfile's, never the current directory: `ctl` has another."""
    named = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    return next((Path(path) for path in (*named, "/tmp", "/var/tmp") if path and _usable(path)), Path("/tmp"))


def _usable(path: str) -> bool:
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)  # noqa: PTH112 (Path's raises PermissionError)


def is_private(path: Path) -> bool:
    """Whether nobody else can put a socket into the directory `path`: in /tmp, another user could have made it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
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
