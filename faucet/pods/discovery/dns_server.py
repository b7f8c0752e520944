"""DNS queries to one server: over UDP, and over TCP if the answer is too long or only TCP is available.

dnspython builds and parses the messages. A Connector opens the TCP connections, so that queries can also go through an
SSH link, which carries TCP only.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, cast

from faucet import pauses
from faucet.net.connect import Connector, connect_tcp
from faucet.net.service_url import DNS_PORT

if TYPE_CHECKING:
    import dns.message

PATIENCE = 2.0
"""Seconds for one answer over UDP, and again over TCP."""

TRUNCATED = 2
"""The bit TC in the third byte of a message (RFC 1035, 4.1.1)."""

UDP_PAYLOAD = 1232
"""Bytes of a UDP answer that passes every network unfragmented (DNS Flag Day 2020)."""


class DnsServer:
    """One DNS server. It is queried over TCP only, unless `connector` is for plain TCP."""

    def __init__(self, host: str, port: int = DNS_PORT, connector: Connector = connect_tcp) -> None:
        self.host = host
        self.port = port
        self._connector = connector

    def __str__(self) -> str:
        return self.host if self.port == DNS_PORT else f"{self.host}:{self.port}"

    async def ask(self, name: str, kind: str) -> dns.message.Message:
        """Query records of type `kind` (`A`, `SRV`) of the absolute `name`, and return the reply.

        Raises OSError, TimeoutError, or dns.exception.DNSException for an invalid reply.
        """
        import dns.flags
        import dns.message

        query = dns.message.make_query(name, kind, use_edns=0, payload=UDP_PAYLOAD)
        if self._connector is connect_tcp:
            reply = await self._ask_udp(query)
            if reply is not None and not reply.flags & dns.flags.TC:
                return reply
        return await self._ask_tcp(query)

    async def _ask_udp(self, query: dns.message.Message) -> dns.message.Message | None:
        """Return the reply; None if it was cut in the middle of a record and so cannot be parsed."""
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_datagram_endpoint(
            lambda: _Datagrams(query), remote_addr=(self.host, self.port)
        )
        try:
            transport.sendto(query.to_wire())
            async with pauses.timeout(PATIENCE):
                return await exchange.reply
        finally:
            transport.close()

    async def _ask_tcp(self, query: dns.message.Message) -> dns.message.Message:
        import dns.message

        transport, protocol = await self._connector(_OneMessage, self.host, self.port, PATIENCE)
        exchange = cast("_OneMessage", protocol)
        try:
            wire = query.to_wire()
            cast("asyncio.Transport", transport).write(struct.pack("!H", len(wire)) + wire)
            async with pauses.timeout(PATIENCE):
                reply = dns.message.from_wire(await exchange.reply)
        finally:
            cast("asyncio.Transport", transport).abort()
        if not query.is_response(reply):
            raise OSError(f"the DNS server {self} sent the answer to another query")
        return reply


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the reply to `query`; ignores any other datagram, which may be forged."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self.reply: asyncio.Future[dns.message.Message | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        import dns.exception
        import dns.message

        try:
            reply = dns.message.from_wire(data, ignore_trailing=True)
        except dns.exception.DNSException:
            own = data[:2] == self._query.id.to_bytes(2, "big")
            if own and data[2:3] and data[2] & TRUNCATED and not self.reply.done():
                self.reply.set_result(None)
            return
        if self._query.is_response(reply) and not self.reply.done():
            self.reply.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


class _OneMessage(asyncio.Protocol):
    """Waits for one message with a length prefix (RFC 7766, section 8)."""

    def __init__(self) -> None:
        self._data = b""
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._data += data
        size = int.from_bytes(self._data[:2], "big") + 2
        if len(self._data) >= max(size, 3) and not self.reply.done():
            self.reply.set_result(self._data[2:size])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc or ConnectionResetError("the DNS server closed the connection"))
            self.reply.exception()  # marked as retrieved: the waiter may have timed out
