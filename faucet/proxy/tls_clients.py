"""Clients that speak TLS: their handshakes, and the connections that these become.

A connection in its handshake is no client yet: it has no place among the clients and no memory but that of the
handshake. So there is a limit of handshakes at once, a deadline for each, and a limit of the steps in one turn of the
loop, since a step with a signature takes a millisecond of everybody's time. A client that speaks plain HTTP is told so.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter, deque
from collections.abc import Callable
from time import monotonic
from typing import cast

from faucet.http1 import BadRequest
from faucet.net.proxy_header import Peer, ProxyHeaderError, ProxyHeaderReader
from faucet.net.tls_stream import TlsStream
from faucet.proxy.clients import Clients
from faucet.proxy.deadlines import Timeouts
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.pool import Pool

_log = logging.getLogger("faucet")

HANDSHAKE_SECONDS = 10.0
"""Seconds for a handshake, a PROXY header before it included. A client with a lost packet or two needs three."""

DRAIN_SECONDS = 2.0
"""The same when the service is shutting down."""

CONNECTION_BYTES = 19 * 1024
"""Memory of an idle connection inside TLS, beyond that of a plain one: measured with 10,000 of them."""

HANDSHAKE_BYTES = 45 * 1024
"""Memory of a connection in its handshake, measured likewise."""

AT_ONCE = 512
"""Handshakes at once, which take 23 MiB."""

SETTLED_SECONDS = 1.0
"""Seconds after which a handshake may be ended for a new one, when there are AT_ONCE."""

STEPS_PER_TURN = 4
"""Handshakes that are continued in one turn of the loop. A signature with an RSA key of 2048 bits takes 0.7 ms."""

FLIGHT_LIMIT = 64 * 1024
"""Bytes that a client may send ahead of its turn. A handshake without client certificates has less than 1 KiB."""

TOLD_SECONDS = 60.0
"""Seconds between two lines of the log about handshakes that failed for the same reason."""

_HANDSHAKE_RECORD = 0x16
"""First byte of a connection that speaks TLS (RFC 8446, 5.1)."""

SPEAKS_HTTPS = "This port speaks HTTPS: use a URL that begins with https://."

_REASONS = {
    "UNSUPPORTED_PROTOCOL": "version", "VERSION_TOO_LOW": "version", "WRONG_VERSION_NUMBER": "not_tls",
    "NO_SHARED_CIPHER": "cipher", "NO_SUITABLE_SIGNATURE_ALGORITHM": "cipher", "NO_SUITABLE_KEY_SHARE": "cipher",
    "TLSV1_ALERT_UNKNOWN_CA": "certificate", "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "certificate", "SSLV3_ALERT_CERTIFICATE_EXPIRED": "certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "certificate", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "version", "SSLV3_ALERT_HANDSHAKE_FAILURE": "cipher",
}  # fmt: skip
"""The metric's reason for OpenSSL's."""

FAILURES = ("certificate", "cipher", "left", "limit", "not_tls", "plain_http", "proxy_header", "timeout", "version",
            "other")  # fmt: skip
"""Why handshakes fail: the values of a label of the metrics."""

_TEXTS = {
    "certificate": "the client does not accept the certificate",
    "cipher": "no cipher or signature that both know",
    "version": "no version of TLS that both allow; see --tls-min",
    "not_tls": "the client sent something other than TLS",
    "timeout": f"not finished within {HANDSHAKE_SECONDS:g} s",
    "limit": f"ended for a newer one, since {AT_ONCE} were in progress",
}


class TlsClientConnection(ClientConnection):
    """A client's connection inside TLS. The transport is a TlsStream."""

    __slots__ = ()

    def __init__(self, pool: Pool, clients: Clients) -> None:
        super().__init__(pool, clients)
        self._introduce = clients.introduce_tls

    def taken(self) -> int:
        """See Outflow. What TLS adds to the response is among the bytes that are buffered."""
        return super().taken() + cast("TlsStream", self.transport).overhead


class PlainClientConnection(ClientConnection):
    """A client that speaks plain HTTP where TLS is expected: it gets an answer that says so."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Called by the loop, and for the bytes that showed what the client speaks."""
        if self._linger_left < 0 and not self.transport.is_closing():
            error = BadRequest(400, SPEAKS_HTTPS)
            self._refuse(error, len(data), self._reader.start_line(data))
        else:
            super().data_received(data)


class TlsClients:
    """Makes a protocol for each connection that is accepted, and a client of it after the handshake.

    `context` returns the TLS settings for the next handshake, which may change at any time.
    """

    def __init__(
        self, pool: Pool, clients: Clients, context: Callable[[], ssl.SSLContext], seconds: float = HANDSHAKE_SECONDS
    ) -> None:
        self.at_once = AT_ONCE
        self.pool = pool
        self.clients = clients
        self.context = context
        self.done = 0
        """Handshakes that have succeeded."""
        self.failed: Counter[str] = Counter()
        """Handshakes that have failed, by reason."""
        self.open = 0
        """Connections inside TLS, WebSockets included."""
        self.on_lost = self._lost
        self.resumed = 0
        """Handshakes that have resumed an earlier session."""
        self.connection: type[ClientConnection] = TlsClientConnection
        """The client's protocol."""
        self._under_way: dict[Handshake, None] = {}
        self._queue: deque[Handshake] = deque()
        self._turn_due = False
        self._told: dict[str, tuple[float, int]] = {}
        self._timeouts: Timeouts[Handshake] = Timeouts(
            pool.loop, seconds, lambda handshake: handshake.fail("timeout"), pool.pauses.since
        )

    def __len__(self) -> int:
        return len(self._under_way)

    def accept(self) -> Handshake:
        """Return the protocol for a connection that a client has opened."""
        return Handshake(self, self.pool.settings.proxy_protocol)

    def has_room(self, opening: int) -> bool:
        """See Clients.has_room. With AT_ONCE handshakes in progress, the oldest makes room if it is not new itself."""
        if len(self._under_way) + opening >= self.at_once and not self._end_oldest():
            return False
        return self.clients.has_room(opening + len(self._under_way))

    def _end_oldest(self) -> bool:
        oldest = next(iter(self._under_way), None)
        if oldest is None or monotonic() - oldest.began < SETTLED_SECONDS:
            return False
        oldest.fail("limit")
        return True

    # -- called by handshakes ----------------------------------------------------------------------------------

    def began(self, handshake: Handshake) -> None:
        """Count a connection that was accepted, and set its deadline."""
        self._under_way[handshake] = None
        self._timeouts.touch(handshake)

    def queue(self, handshake: Handshake) -> None:
        """Continue a handshake in its turn: its client has sent something."""
        self._queue.append(handshake)
        if not self._turn_due:
            self._turn_due = True
            self.pool.loop.call_soon(self._turn)

    def _turn(self) -> None:
        for _ in range(min(STEPS_PER_TURN, len(self._queue))):
            self._queue.popleft().step()
        self._turn_due = bool(self._queue)
        if self._turn_due:
            self.pool.loop.call_soon(self._turn)

    def succeeded(self, handshake: Handshake, stream: TlsStream, resumed: bool) -> None:
        """Make a client of a connection whose handshake is done."""
        self.done += 1
        self.open += 1
        self.resumed += resumed
        stream.begin(self.connection(self.pool, self.clients))
        self.ended(handshake)

    def _lost(self) -> None:
        self.open -= 1

    def speaks_http(self, handshake: Handshake, transport: asyncio.Transport, data: bytes, peer: Peer | None) -> None:
        """Answer a client that speaks plain HTTP. `peer`: its address, if a PROXY header has told it."""
        self.failed["plain_http"] += 1
        client = PlainClientConnection(self.pool, self.clients)
        transport.set_protocol(client)
        client.connection_made(transport)
        if peer is not None:
            client.peer = peer.host
        client.data_received(data)
        self.ended(handshake)

    def count_failure(self, reason: str, peer: str, detail: str) -> None:
        """Count a failed handshake, and log it unless the same was logged a moment ago."""
        self.failed[reason] += 1
        if reason == "left":
            return  # a probe that only opens a connection, or a client that has changed its mind
        text = f"TLS handshake with {peer}: {_TEXTS.get(reason, detail)}"
        told, before = self._told.get(reason, (float("-inf"), 0))
        if monotonic() - told < TOLD_SECONDS:
            _log.debug("%s", text)
            return
        more = self.failed[reason] - before - 1
        self._told[reason] = monotonic(), self.failed[reason]
        _log.info("%s%s", text, f" (and {more} more since the last such line)" if before and more else "")

    def lost(self, handshake: Handshake, peer: str) -> None:
        """The connection of a handshake is gone; count that, if it is not the consequence of a failure."""
        if handshake in self._under_way:
            self.count_failure("left", peer, "")
            self.ended(handshake)

    def ended(self, handshake: Handshake) -> None:
        """Forget a handshake that is over, however it ended."""
        if handshake in self._under_way:
            del self._under_way[handshake]
            self._timeouts.discard(handshake)
            self.clients.on_gone()

    @property
    def memory(self) -> int:
        """The bytes that OpenSSL uses for connections without buffered data, and for handshakes: an estimate."""
        return self.open * CONNECTION_BYTES + len(self) * HANDSHAKE_BYTES

    # -- the end -----------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """The service is shutting down: handshakes in progress get DRAIN_SECONDS."""
        if self._under_way:
            self.pool.loop.call_later(DRAIN_SECONDS, self.close)

    def close(self) -> None:
        """Abort all handshakes."""
        for handshake in list(self._under_way):
            handshake.fail("timeout" if self.pool.draining else "left")
        self._timeouts.close()


class Handshake(asyncio.Protocol):
    """One connection until its handshake is done. The objects of OpenSSL are made when the client begins."""

    __slots__ = ("_arrived", "_clients", "_header", "_incoming", "_outgoing", "_peer", "_queued", "_tls", "_transport",
                 "began")  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, clients: TlsClients, proxied: bool) -> None:
        self._clients = clients
        self.began = monotonic()
        self._header = ProxyHeaderReader() if proxied else None
        self._peer: Peer | None = None  # as the PROXY header says
        self._arrived: list[bytes] = []
        self._queued = False
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._clients.began(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._arrived.append(data)
        if sum(map(len, self._arrived)) > FLIGHT_LIMIT:
            self._transport.pause_reading()
        if not self._queued:
            self._queued = True
            self._clients.queue(self)

    def eof_received(self) -> bool:
        """Called by the loop: nothing to answer to."""
        self.fail("left")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._clients.lost(self, self._described)

    def step(self) -> None:
        """Continue with what the client has sent, in its turn."""
        self._queued = False
        data, self._arrived = b"".join(self._arrived), []
        if self._transport.is_closing():
            return
        if self._header is not None:
            data = self._read_header(self._header, data)
        if not data:
            return
        if self._tls is None and not self._starts_tls(data):
            return
        self._shake(data)

    def _read_header(self, reader: ProxyHeaderReader, data: bytes) -> bytes:
        """Read the PROXY header. Return what is behind it; nothing while it is incomplete, or if it is invalid."""
        try:
            read = reader.feed(data)
        except ProxyHeaderError as error:
            self.fail("proxy_header", str(error))
            return b""
        if read is None:
            self._transport.resume_reading()
            return b""
        self._header = None
        self._peer, rest = read
        return rest

    def _starts_tls(self, data: bytes) -> bool:
        """Whether the client begins a handshake. If it speaks something else, end the connection."""
        if data[0] == _HANDSHAKE_RECORD:
            return True
        if data[:1].isalpha():
            self._transport.resume_reading()
            self._clients.speaks_http(self, self._transport, data, self._peer)
        else:
            self.fail("not_tls")
        return False

    def _shake(self, data: bytes) -> None:
        if self._tls is None or self._incoming is None or self._outgoing is None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = self._clients.context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(data)
        error: ssl.SSLError | None = None
        finished = False
        try:
            self._tls.do_handshake()
            finished = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as refused:
            error = refused
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())  # an alert, if there is an error
        if error is not None:
            self.fail(_REASONS.get(error.reason or "", "other"), str(error.reason or error))
            return
        self._transport.resume_reading()
        if finished:
            self._become_stream(self._tls, self._incoming, self._outgoing)

    def _become_stream(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        stream = TlsStream(self._transport, tls, incoming, outgoing, self._peer, self._clients.on_lost)
        self._tls = self._incoming = self._outgoing = None
        self._clients.succeeded(self, stream, bool(tls.session_reused))

    def fail(self, reason: str, detail: str = "") -> None:
        """End the connection. What was written, an alert, is sent first, if the client reads it."""
        if self._transport.is_closing():
            return
        self._clients.count_failure(reason, self._described, detail)
        if reason in ("timeout", "limit"):
            self._transport.abort()
        else:
            self._transport.close()
        self._clients.ended(self)

    @property
    def _described(self) -> str:
        if self._peer is not None:
            return self._peer.host
        name = self._transport.get_extra_info("peername")
        return name[0].removeprefix("::ffff:") if isinstance(name, tuple) else "unix"
