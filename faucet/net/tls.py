"""TLS over whatever a connector opens: over TCP by the loop, over a channel by asyncio's own protocol for it."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from pathlib import Path
from typing import Any

from faucet.net.connect import Connector, ProtocolFactory


class TlsConnector:
    """A Connector for TLS over what `below` opens. The certificate is to be for `server_name`, whatever the address."""

    def __init__(self, below: Connector, server_name: str, context: ssl.SSLContext) -> None:
        self._below = below
        self._server_name = server_name
        self._context = context

    async def __call__(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """See Connector. Raises ssl.SSLError, which is an OSError, too."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        protocol = protocol_factory()
        layers: list[Any] = []

        def layer() -> asyncio.Protocol:
            layers.append(
                SSLProtocol(loop, protocol, self._context, ready, server_side=False, server_hostname=self._server_name)
            )
            return layers[0]  # type: ignore[no-any-return]

        deadline = loop.time() + timeout
        transport, _ = await self._below(layer, host, port, timeout)  # which has to see its own timeout
        try:
            async with asyncio.timeout_at(deadline):
                await ready
        except BaseException:
            transport.abort()  # type: ignore[attr-defined]
            raise
        return layers[0]._app_transport, protocol


def tls_context(ca_file: Path | None, verify: bool = True) -> ssl.SSLContext:
    """What is accepted of backends: certificates of the system's CAs, or those of `ca_file` only.

    Raises OSError if the file cannot be read, ssl.SSLError (an OSError) if there is no certificate in it.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13: stricter than many a private CA is
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
