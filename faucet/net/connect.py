"""How a backend is reached: TCP, and TLS over it. Whatever else there is looks the same from above."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Protocol

ProtocolFactory = Callable[[], asyncio.Protocol]

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 15, 5, 3
"""Seconds of silence before the kernel asks whether another machine is still there, between its questions, and how
many unanswered ones end the connection: a pod that has vanished is known to be gone after half a minute."""

UNACKNOWLEDGED_MS = 60_000
"""Milliseconds in which another machine has to take what was sent (RFC 5482): a request that meets a vanished pod on a
kept connection fails then, and not after a quarter of an hour. Linux counts a peer that acknowledges but does not read
its body for so long as well, so this must not be short."""


class NoWay(Exception):
    """There is no way to any backend, and there will be none. The text is for the user."""


class LinkDown(OSError):
    """There is no way to any backend now; this one has done nothing wrong."""


class LinkLost(ConnectionResetError):
    """The way to a backend was lost while it was used; the backend may still be at work."""


class Connector(Protocol):
    """Opens connections."""

    async def __call__(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """A connected transport and its protocol. Raises OSError, TimeoutError after `timeout` seconds, or LinkDown."""


async def connect_tcp(
    protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    """A Connector for plain TCP. The loop sets TCP_NODELAY itself."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        transport, protocol = await loop.create_connection(protocol_factory, host, port)
    if transport.get_extra_info("sockname") == transport.get_extra_info("peername"):
        # Nobody listens, and the kernel chose the port itself to connect from: TCP's simultaneous open, with itself.
        transport.abort()
        raise ConnectionRefusedError(f"nobody listens on {host}:{port}")
    return transport, protocol


async def connect_remote(
    protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    """A Connector for another machine, which may vanish without a word."""
    transport, protocol = await connect_tcp(protocol_factory, host, port, timeout)
    _watch(transport)
    return transport, protocol


def _watch(transport: asyncio.BaseTransport) -> None:
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in (
        (idle, KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def why_not(error: Exception) -> str:
    """Why a connection could not be opened, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}; --ca-file names the CA to trust"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS as it should: {error.reason or error}"
    if isinstance(error, TimeoutError) and not str(error):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # asyncio puts other words into `strerror` than uvloop
    return str(error) or type(error).__name__
