"""TLS on an accepted connection after its handshake: a transport for the client's protocol, on the loop's transport.

asyncio's own TLS transport does not serve here: it reports a cut connection like an orderly end, it has no half-close,
and it buffers without a limit. This one promises:

* The client's end is an end only after its close_notify (RFC 8446, 6.1). A FIN without one is a cut: the connection is
  aborted, as after a reset.
* Encrypted bytes that are not sent yet are in the transport below, whose water marks and buffer size are reported as
  they are. Nothing else is buffered: what arrives in one read is passed on in one piece, and so is each write.
* `write_eof` sends a close_notify and closes the sending side only. `abort` sends no close_notify.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

RECORD = 16 * 1024
"""Bytes that are encrypted or decrypted at once: the most that a record holds (RFC 8446, 5.1). OpenSSL's buffers never
shrink, so an idle connection keeps as much memory as the largest piece that it was given."""

UNREAD_REPLIES = 16 * 1024
"""Bytes of TLS' own replies (to key updates) that are buffered for a client that does not read. An honest client
causes a few dozen of them; a client that asks for more is cut, since no other limit counts these bytes."""

_NOBODY = asyncio.Protocol()
"""In place of the client's protocol after the end, so that no cycle of references is left."""


class TlsStream(asyncio.Protocol, asyncio.Transport):
    """A transport towards `set_protocol`'s protocol, and the protocol of the transport `below`."""

    __slots__ = ("_below", "_ended", "_incoming", "_lost", "_outgoing", "_paused", "_peer", "_sent_end", "_tls",
                 "_told_end", "_unread", "_upper", "_write_paused", "overhead")  # fmt: skip

    def __init__(
        self,
        below: asyncio.Transport,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        peer: tuple[str, int] | None = None,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Continue on `below` after the handshake of `tls`. `peer`: the client's address, if not that of `below`.

        `lost` is called when the connection is lost.
        """
        self._lost = lost
        self._below = below
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._peer = peer
        self._upper: asyncio.Protocol = _NOBODY
        self._ended = False  # the client's close_notify has arrived
        self._told_end = False  # and was reported
        self._sent_end = False  # a close_notify was sent
        self._paused = False  # the client's protocol reads no more for now
        self._write_paused = False
        self._unread = 0  # bytes of replies since the client reads no more
        self.overhead = 0
        """Bytes sent beyond those that were written: headers, tags, replies."""

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Hand the connection to `protocol`, with what the client sent right behind its handshake."""
        self._upper = protocol
        self._below.set_protocol(self)
        protocol.connection_made(self)
        if self._incoming.pending or self._tls.pending():
            self._deliver(self._decrypt(b""))

    # -- from the transport below ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Called by the loop. Bytes after a close_notify are discarded."""
        if not self._ended:
            self._deliver(self._decrypt(data))

    def _deliver(self, plain: bytes) -> None:
        if plain:
            self._upper.data_received(plain)
        if self._ended and not self._paused:
            self._tell_end()

    def _tell_end(self) -> None:
        """Report the client's close_notify, once; while reading is paused, not even that is read."""
        if self._told_end or self._paused or self.is_closing():
            return
        self._told_end = True
        if not self._upper.eof_received():
            self.close()

    def _decrypt(self, data: bytes) -> bytes:
        """Return the plain bytes of all whole records. Aborts after an invalid record."""
        if len(data) <= RECORD:
            self._incoming.write(data)
            parts = self._read()
        else:
            parts = []
            view = memoryview(data)
            for start in range(0, len(data), RECORD):
                self._incoming.write(view[start : start + RECORD])
                parts += self._read()
        if self._outgoing.pending:
            self._reply()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self) -> list[bytes]:
        parts: list[bytes] = []
        try:
            while not self._ended:
                part = self._tls.read(RECORD)
                if part:
                    parts.append(part)
                else:
                    self._ended = True
                if not self._incoming.pending and not self._tls.pending():
                    break  # what an exception would say costs more than to ask
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # in place of an empty result, after a close_notify was sent
            self._ended = True
        except ssl.SSLError:
            self.abort()
        return parts

    def _reply(self) -> None:
        """Send what TLS itself has to say."""
        reply = self._outgoing.read()
        if self._sent_end or self.is_closing():
            return
        self.overhead += len(reply)
        if self._write_paused:
            self._unread += len(reply)
            if self._unread > UNREAD_REPLIES:
                self.abort()
                return
        self._below.write(reply)

    def eof_received(self) -> bool:
        """Called by the loop. Without a close_notify before, somebody has cut the connection."""
        if not self._ended:
            self.abort()
        return self._ended

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once."""
        upper, self._upper = self._upper, _NOBODY
        upper.connection_lost(exc)
        if self._lost is not None:
            self._lost()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._write_paused = True
        self._upper.pause_writing()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._write_paused = False
        self._unread = 0
        self._upper.resume_writing()

    # -- from the client's protocol ----------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio.Transport. Does nothing after `write_eof`, or if the connection is closing."""
        if not data or self._sent_end or self.is_closing():
            return
        try:
            sent = self._encrypt(data)
        except ssl.SSLError:
            self.abort()
            return
        self.overhead += len(sent) - len(data)
        self._below.write(sent)

    def _encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        if len(data) <= RECORD:
            self._tls.write(data)
            return self._outgoing.read()
        parts = []
        view = memoryview(data)
        for start in range(0, len(data), RECORD):
            self._tls.write(view[start : start + RECORD])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def _send_end(self) -> None:
        """Send a close_notify, unless that was done."""
        if self._sent_end:
            return
        with contextlib.suppress(ssl.SSLError):  # SSLWantReadError: the client's own close_notify has not arrived
            self._tls.unwrap()
        if self._outgoing.pending and not self.is_closing():
            self._below.write(self._outgoing.read())
        self._sent_end = True

    def can_write_eof(self) -> bool:
        """Return True: a close_notify ends one direction."""
        return True

    def write_eof(self) -> None:
        """Send a close_notify and close the sending side. Raises OSError if the client has reset the connection."""
        if not self._sent_end and not self.is_closing():
            self._send_end()
            self._below.write_eof()

    def close(self) -> None:
        """Close after all written bytes and a close_notify are sent."""
        if not self.is_closing():
            self._send_end()
            self._below.close()

    def abort(self) -> None:
        """Close at once, without a close_notify."""
        self._below.abort()

    def is_closing(self) -> bool:
        """See asyncio.Transport."""
        return self._below.is_closing()

    def is_reading(self) -> bool:
        """See asyncio.Transport."""
        return self._below.is_reading()

    def pause_reading(self) -> None:
        """See asyncio.Transport. What the transport below has read already is delivered."""
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio.Transport."""
        self._paused = False
        self._below.resume_reading()
        if self._ended and not self._told_end:
            asyncio.get_running_loop().call_soon(self._tell_end)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio.Transport. The limits count encrypted bytes."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return the number of encrypted bytes that are not sent yet."""
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See asyncio.Transport."""
        return self._below.get_write_buffer_limits()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio.Transport."""
        self._upper = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio.Transport."""
        return self._upper

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio.BaseTransport."""
        if name == "ssl_object":
            return self._tls
        if name == "peername" and self._peer is not None:
            return self._peer
        return self._below.get_extra_info(name, default)
