"""TLS inside SSH channels, by asyncio's own TLS protocol.

SSLProtocol is not public API, but `loop.start_tls` accepts only transports of the event loop itself.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from time import monotonic
from typing import Any

from faucet import pauses
from faucet.net.connect import Connector, ProtocolFactory


class ChannelTls:
    """A Connector for TLS over `below`. The certificate must be valid for `server_name`, whatever the address."""

    def __init__(self, below: Connector, server_name: str, context: ssl.SSLContext) -> None:
        self._below = below
        self._server_name = server_name
        self._context = context

    async def __call__(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """See Connector; the handshake has to be done by then, too. Raises ssl.SSLError, which is an OSError."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        protocol = protocol_factory()
        layers: list[Any] = []

        def layer() -> asyncio.Protocol:
            layers.append(
                SSLProtocol(loop, protocol, self._context, ready, server_side=False, server_hostname=self._server_name)
            )
            return layers[0]  # type: ignore[no-any-return]

        began = monotonic()
        transport, _ = await self._below(layer, host, port, timeout)  # it must notice its own timeout
        try:
            async with pauses.timeout(pauses.left(timeout, began)):
                await ready
        except BaseException:
            transport.abort()  # type: ignore[attr-defined]
            raise
        return layers[0]._app_transport, protocol
