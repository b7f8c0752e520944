"""TLS to backends: the connector over TCP, the trusted CAs, and whether a connection was closed with a close_notify."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from faucet.net.connect import ProtocolFactory, connect_remote


class TlsConnector:
    """A Connector for TLS over TCP. The certificate must be valid for `server_name`, whatever the address."""

    def __init__(self, server_name: str, context: ssl.SSLContext) -> None:
        self._server_name = server_name
        self._context = context

    async def __call__(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """See Connector. `timeout` includes the handshake. Raises ssl.SSLError, which is an OSError."""
        return await connect_remote(protocol_factory, host, port, timeout, self._context, self._server_name)


def ended_by_peer(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer itself has closed this connection, as far as the protocol can tell. Always true without TLS.

    With TLS, a close_notify tells that (RFC 8446, 6.1). Without one, a third party may have cut the connection, so a
    response that is delimited by the close may be incomplete (RFC 9112, 9.8). Call it in `connection_lost` after an
    abort: it reads from the TLS object, and a transport that is closed in order has sent and read the rest itself.
    """
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return tls.read(1) == b""
    except ssl.SSLError:  # SSLWantReadError: no close_notify has arrived
        return False


def tls_context(ca_file: Path | None, verify: bool = True) -> ssl.SSLContext:
    """Return the TLS settings for backends: trust the system's CAs, or those in `ca_file` only.

    Raises OSError if the file cannot be read, ssl.SSLError (an OSError) if it has no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # default since Python 3.13; many private CAs do not comply
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def misplaced(scheme: str, ca_file: Path | None, insecure_skip_verify: bool) -> str:
    """Return an error message about these two options for a service of `scheme`; empty if they are valid."""
    if scheme == "http" and (ca_file or insecure_skip_verify):
        return "--ca-file and --insecure-skip-verify are for https: write --service-url https://…"
    if ca_file and insecure_skip_verify:
        return "--ca-file says which CA to trust, --insecure-skip-verify to trust any certificate; use only one of them"
    return ""
