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
        return await loop.create_connection(protocol_factory, host, port)
