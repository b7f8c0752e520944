"""Binds Unix sockets to listen on, with the right permissions, and never replaces one that is in use."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from pathlib import Path

_PEER_OF_LINUX = (socket.SOL_SOCKET, getattr(socket, "SO_PEERCRED", 17), "3i")
"""Level, option and format of the result, whose second number is the user id: struct ucred."""

_PEER_OF_BSD = (0, 1, "2I")
"""SOL_LOCAL and LOCAL_PEERCRED of BSD and macOS, for which Python has no names: the beginning of struct xucred."""


def bind_unix(path: str, mode: int | None = None) -> socket.socket:
    """Return a socket bound to `path`, not listening yet. A stale socket at `path` is replaced.

    The socket has the permissions `mode` from the first moment; None: by the umask. Raises OSError: EEXIST if another
    kind of file is there, EADDRINUSE if a process listens there.
    """
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode) if mode is not None else None
    try:
        sock.bind(path)
        if mode is not None:
            Path(path).chmod(mode)  # a directory's default ACL may have added something
    except BaseException:
        sock.close()
        raise
    finally:
        if before is not None:
            os.umask(before)
    return sock


def remove_stale(path: str) -> None:
    """Remove the socket at `path` if no process listens on it. Raises OSError as `bind_unix` does."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, "there is a file of that name")
    if is_listening(path):
        raise OSError(errno.EADDRINUSE, "another process listens there")
    Path(path).unlink(missing_ok=True)


def peer_uid(sock: socket.socket) -> int | None:
    """Return the user id of the process at the other end of a connected Unix socket; None if the system cannot tell.

    If the peer is the listening side, that is the user when it began to listen (unix(7), SO_PEERCRED).
    """
    level, option, form = _PEER_OF_LINUX if hasattr(socket, "SO_PEERCRED") else _PEER_OF_BSD
    try:
        return int(struct.unpack(form, sock.getsockopt(level, option, struct.calcsize(form)))[1])
    except (OSError, struct.error):
        return None


def is_listening(path: str) -> bool:
    """Whether a process listens on the socket at `path`. Never waits for that process, which may hang.

    Connecting to a Unix socket succeeds or fails at once (unix(7)). EAGAIN means that the queue of connections is full,
    so a process has the socket open, whether or not it ever accepts.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True
    return True
