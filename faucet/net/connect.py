"""Connectors, which open connections to backends, and their errors: here over TCP. TLS and SSH share the interface."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Protocol

from faucet import pauses

ProtocolFactory = Callable[[], asyncio.Protocol]

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 15, 5, 3
"""Seconds of silence before the first keepalive probe, seconds between probes, and unanswered probes that end the
connection. Linux does not count the probes where there is a UNACKNOWLEDGED_MS: that ends the connection then."""

UNACKNOWLEDGED_MS = 60_000
"""Milliseconds in which another machine must acknowledge sent data, or a probe (RFC 5482): a request to a vanished pod
on a kept connection fails then, and not after a quarter of an hour. Linux also counts a peer that acknowledges but does
not read its body for so long, so this must not be short."""


class NoWay(Exception):
    """Backends are unreachable for good. The message is shown to the user."""


class LinkDown(OSError):
    """Backends are unreachable for now, since the link to them is down; this is not a backend's fault."""


class NotBegun(LinkDown):
    """A request was not begun, and its receiver will never begin it: it may be sent elsewhere, whatever its method."""


class WorkerBusy(NotBegun):
    """A Faucet in a pod has another request for its worker already."""


class LinkLost(ConnectionResetError):
    """The link to a backend was lost during use; the backend may still be busy with the request."""


class Connector(Protocol):
    """Opens connections to backends."""

    async def __call__(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Return a connected transport and its protocol. Raises OSError, LinkDown, TimeoutError after `timeout` s."""


async def connect_tcp(
    protocol_factory: ProtocolFactory, host: str, port: int, timeout: float,
    tls: ssl.SSLContext | None = None, server_name: str | None = None,
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:  # fmt: skip
    """Connect over TCP, or with `tls` over TLS to `server_name`: a Connector. The loop sets TCP_NODELAY itself."""
    loop = asyncio.get_running_loop()
    async with pauses.timeout(timeout):
        transport, protocol = await loop.create_connection(
            protocol_factory, host, port, ssl=tls, server_hostname=server_name
        )
    if transport.get_extra_info("sockname") == transport.get_extra_info("peername"):
        # No process listens, and the kernel chose the same port to connect from: a TCP simultaneous open with itself.
        transport.abort()
        raise ConnectionRefusedError(f"no process listens on {host}:{port}")
    return transport, protocol


async def connect_remote(
    protocol_factory: ProtocolFactory, host: str, port: int, timeout: float,
    tls: ssl.SSLContext | None = None, server_name: str | None = None,
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:  # fmt: skip
    """Connect as `connect_tcp` does, with keepalive, for another machine, which may vanish silently: a Connector."""
    transport, protocol = await connect_tcp(protocol_factory, host, port, timeout, tls, server_name)
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
    """Return why a connection could not be opened, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}; --ca-file names the CA to trust"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {error.reason or error}"
    if isinstance(error, TimeoutError) and not str(error):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)  # asyncio and uvloop differ in `strerror`
    return str(error) or type(error).__name__
