"""TLS over another connector's connections, whether TCP or SSH channels, by asyncio's own TLS protocol."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from pathlib import Path
from typing import Any

from faucet.net.connect import Connector, ProtocolFactory


class TlsConnector:
    """A Connector for TLS over `below`. The certificate must be valid for `server_name`, whatever the address."""

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
        transport, _ = await self._below(layer, host, port, timeout)  # it must notice its own timeout
        try:
            async with asyncio.timeout_at(deadline):
                await ready
        except BaseException:
            transport.abort()  # type: ignore[attr-defined]
            raise
        return layers[0]._app_transport, protocol


def tls_context(ca_file: Path | None, verify: bool = True) -> ssl.SSLContext:
    """Return the TLS settings for backends: trust the system's CAs, or those in `ca_file` only.

    Raises OSError if the file cannot be read, ssl.SSLError (an OSError) if it has no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13: stricter than many a private CA is
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def misplaced(scheme: str, ca_file: Path | None, insecure_skip_verify: bool) -> str:
    """Return what is wrong with these two options for a service of that scheme; empty if nothing is."""
    if scheme == "http" and (ca_file or insecure_skip_verify):
        return "--ca-file and --insecure-skip-verify are for https: write --service-url https://…"
    if ca_file and insecure_skip_verify:
        return "--ca-file says which CA to trust, --insecure-skip-verify to trust any certificate; use only one of them"
    return ""
