"""The paths of control sockets: one for each served port, in the user's own runtime directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

PATH_LIMIT = 100
"""Longest accepted path of a Unix socket, in bytes. Linux allows 108, macOS 104, including the final NUL."""


def directory() -> Path:
    """Return the directory for the control sockets of this user. It may not exist yet."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")  # after `su`, this is the directory of another user
    if runtime and len(runtime) < PATH_LIMIT - 30 and _usable(runtime):
        return Path(runtime) / "faucet"
    return temporary_directory() / f"faucet-{os.getuid()}"


def temporary_directory() -> Path:
    """Return the directory for temporary files, /tmp if none is usable.

    Unlike `tempfile.gettempdir`, it never returns the current directory, which may differ between the service and
    `faucet ctl`.
    """
    named = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    return next((Path(path) for path in (*named, "/tmp", "/var/tmp") if path and _usable(path)), Path("/tmp"))


def _usable(path: str) -> bool:
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)  # noqa: PTH112 (Path's raises PermissionError)


def is_private(path: Path) -> bool:
    """Return whether only this user can create sockets in the directory `path`. In /tmp, any user can create it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def socket_path(port: int) -> Path:
    """Return the path of the control socket of the service on `port`."""
    return directory() / f"{port}.sock"


def known_sockets() -> list[Path]:
    """Return the control sockets of this user, including stale ones, sorted by path."""
    where = directory()
    if not is_private(where):
        return []
    return sorted(where.glob("*.sock"))
