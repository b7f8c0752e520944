"""How much of what was sent on a connection its peer's machine has not acknowledged yet."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
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
