"""Ports for workers: free ones, or those asked for."""

from __future__ import annotations

import errno
import socket
from collections.abc import Set as AbstractSet

HOST = "127.0.0.1"
"""Where workers listen. Nobody but Faucet should reach them."""


def is_free(port: int) -> bool:
    """Whether a worker could listen on `port` now; True if that cannot be told."""
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((HOST, port))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return True


def free_port(used: AbstractSet[int]) -> int:
    """A port that the kernel calls free, and that is none of `used`: it may be asked for before it is listened on.

    Raises OSError if there are no descriptors left.
    """
    while True:
        with socket.socket() as sock:
            sock.bind((HOST, 0))
            port: int = sock.getsockname()[1]
        if port not in used:
            return port
