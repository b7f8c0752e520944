"""What was sent on a connection and its peer's machine has not acknowledged yet: how much, and how to take it back."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import struct
import sys
import termios


def undelivered(transport: asyncio.WriteTransport) -> int:
    """Return the number of bytes that were written and not acknowledged: the kernel goes on sending them.

    Outside Linux only those are counted that the kernel has not taken yet. 0 for a connection that is lost.
    """
    waiting = transport.get_write_buffer_size()
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or not sys.platform.startswith("linux") or sock.fileno() < 0:
        return waiting
    queued = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, queued)  # SIOCOUTQ of tcp(7)
    return waiting + queued[0]


def discard_on_close(transport: asyncio.WriteTransport) -> None:
    """Let the kernel discard what is undelivered when the connection is closed or aborted.

    It would go on sending that otherwise, for minutes, whether or not a process still has the connection.
    """
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
