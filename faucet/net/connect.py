"""How a backend is reached. TCP here; whatever else there is looks the same from above."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

ProtocolFactory = Callable[[], asyncio.Protocol]


class Connector(Protocol):
    """Opens connections."""

    async def __call__(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """A connected transport and its protocol. Raises OSError, or TimeoutError after `timeout` seconds."""


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
