"""A TLS client whose every byte the test decides: what it reads, how it ends, and whether an end was cut.

Python's own streams take a connection that ends without a close_notify for one that ended, and cannot half-close.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any


class TlsReader:
    """As much of asyncio.StreamReader as tests use. Nothing is read before the test asks for it."""

    def __init__(self, raw: asyncio.StreamReader, tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
        self._raw = raw
        self._tls = tls
        self._incoming = incoming
        self._plain = bytearray()
        self.ended = False

    async def _more(self) -> None:
        """Read once more. Raises ConnectionResetError if the connection ends without a close_notify."""
        data = await self._raw.read(65536)
        if not data:
            raise ConnectionResetError("the connection was cut: no close_notify")
        self._incoming.write(data)
        self._decrypt()

    def _decrypt(self) -> None:
        try:
            while part := self._tls.read(65536):
                self._plain += part
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # in place of an empty result, after our own close_notify
            self.ended = True

    def _take(self, size: int) -> bytes:
        data = bytes(self._plain[:size])
        del self._plain[:size]
        return data

    async def read(self, size: int = -1) -> bytes:
        """See asyncio.StreamReader."""
        self._decrypt()
        while not self.ended and (size < 0 or not self._plain):
            await self._more()
        return self._take(len(self._plain) if size < 0 else size)

    async def readexactly(self, size: int) -> bytes:
        """See asyncio.StreamReader."""
        self._decrypt()
        while len(self._plain) < size:
            if self.ended:
                raise asyncio.IncompleteReadError(bytes(self._plain), size)
            await self._more()
        return self._take(size)

    async def readuntil(self, separator: bytes) -> bytes:
        """See asyncio.StreamReader."""
        self._decrypt()
        while separator not in self._plain:
            if self.ended:
                raise asyncio.IncompleteReadError(bytes(self._plain), None)
            await self._more()
        return self._take(self._plain.index(separator) + len(separator))


class TlsWriter:
    """As much of asyncio.StreamWriter as tests use."""

    def __init__(self, raw: asyncio.StreamWriter, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        self._raw = raw
        self._tls = tls
        self._outgoing = outgoing
        self.transport = raw.transport
        """That of the TCP connection."""
        self.get_extra_info = raw.get_extra_info
        self.drain = raw.drain
        self.wait_closed = raw.wait_closed
        self.is_closing = raw.is_closing

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if data:
            self._tls.write(data)
            self._raw.write(self._outgoing.read())

    def notify(self) -> None:
        """Send a close_notify, and no FIN."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._raw.write(self._outgoing.read())

    def write_eof(self) -> None:
        """Half-close, in order."""
        self.notify()
        self._raw.write_eof()

    def cut(self) -> None:
        """Half-close without a close_notify."""
        self._raw.write_eof()

    def close(self) -> None:
        """Close, in order."""
        if not self._raw.is_closing():
            self.notify()
        self._raw.close()


async def connect_tls(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, **options: Any
) -> tuple[TlsReader, TlsWriter]:
    """Shake hands on a connection."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost", **options)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            data = await reader.read(65536)
            if not data:
                raise ConnectionResetError("cut in the handshake") from None
            incoming.write(data)
    writer.write(outgoing.read())
    return TlsReader(reader, tls, incoming), TlsWriter(writer, tls, outgoing)
