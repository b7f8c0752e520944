"""The upstream side: a backend, and the one connection that carries its requests.

A connection serves one exchange at a time and is reused for the next, unless its state is in doubt. Responses are
framed here; the Exchange decides what follows for the request and the lock. No exception may leave `data_received`: the
loop would drop the connection, and the lock would leak.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import cast

from faucet import pauses, tasks
from faucet.http1 import IDEMPOTENT, BadResponse, Body, ResponseHead, ResponseReader, UntilCloseBody
from faucet.net.connect import Connector, LinkLost, WorkerBusy
from faucet.net.descriptors import is_shortage
from faucet.net.tls import ended_by_peer
from faucet.proxy.error_responses import NOT_BEGUN
from faucet.proxy.exchange import Exchange
from faucet.proxy.failures import Loss
from faucet.proxy.holders import Upstream
from faucet.proxy.record import Account
from faucet.proxy.sides import UpstreamConnection

_log = logging.getLogger("faucet")

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection to a backend to be accepted."""

SHORTAGE_SECONDS, SHORTAGE_PAUSE = 2.0, 0.05
"""Seconds that a request waits for a file descriptor, and seconds between two tries."""

UNREAD_LIMIT = 256 * 1024
"""The most bytes of an early response that are read after the connection has broken."""

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


def _ignore(*_: object) -> None:
    pass


class Backend(Upstream):
    """One worker as the proxy sees it: an address with a lock. A restarted worker is a new Backend.

    `on_unreachable(error)` is called when the worker accepts no connection; it is then held until it is resumed.
    `on_hung(record)` is called when the worker has not answered in time. Without a `lock_grace` it has been removed
    then; with one, it stays locked for that many seconds, since it may still be at work. `supervised`: the worker is
    removed as soon as its process exits.
    """

    def __init__(
        self, name: str, host: str, port: int, connector: Connector,
        connect_timeout: float = CONNECT_TIMEOUT, lock_grace: float | None = None, supervised: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.host = host
        self.port = port
        self.connect_timeout = connect_timeout
        self.lock_grace = lock_grace
        self.supervised = supervised
        self.gone = False
        self.exit = ""
        self.tunnels = 0
        self.on_unreachable: Callable[[Exception], None] = _ignore
        self.on_hung: Callable[[Account], None] = _ignore
        self.connection: BackendConnection | None = None
        self._connector = connector

    def __str__(self) -> str:
        return self.name

    def begin(self, exchange: Exchange) -> None:
        """Send the request of `exchange`, which holds the lock, over the open connection or a new one."""
        connection = self.connection
        if connection is not None and connection.usable(exchange):
            connection.send(exchange)
            return
        if connection is not None:
            connection.close()
        tasks.start(self._connect(exchange), f"connection to worker {self.name}")

    def close(self, whatever: bool = False) -> None:
        """Close the connection if no exchange uses it; if `whatever`, close it in any case."""
        if self.connection is not None and (whatever or self.connection.exchange is None):
            self.connection.close()

    def drop(self) -> bool:
        """Abort the connection as if it had been lost; its exchange fails. False if there is no connection."""
        if self.connection is None:
            return False
        self.connection.dropped = True
        self.connection.transport.abort()
        return True

    def _new_connection(self) -> BackendConnection:
        return BackendConnection(self)

    async def _open(self, exchange: Exchange) -> asyncio.BaseProtocol:
        """Open a connection. Wait up to SHORTAGE_SECONDS for a file descriptor. Raises what the connector raises."""
        began = monotonic()
        while True:
            try:
                return (await self._connector(self._new_connection, self.host, self.port, self.connect_timeout))[1]
            except OSError as error:
                if not is_shortage(error):
                    raise
                exchange.pool.descriptors.note("worker")
                over = pauses.left(SHORTAGE_SECONDS, began) < 0
                if over or self.gone or not exchange.holds(self) or exchange.client is None:
                    raise
            await asyncio.sleep(SHORTAGE_PAUSE)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            protocol = await self._open(exchange)
        except Exception as error:  # any exception: the lock must not leak
            if not isinstance(error, OSError):
                _log.exception("no connection to worker %s", self.name)
            self._connect_failed(exchange, error)
            return
        connection = cast("BackendConnection", protocol)
        if self.gone:
            # The worker was removed meanwhile: another process may listen at its address.
            connection.close()
            self._connect_failed(exchange, ConnectionRefusedError())
        elif not exchange.holds(self):
            connection.close()  # the request has ended meanwhile; another may hold the lock
        else:
            self.connection = connection
            connection.send(exchange)

    def _connect_failed(self, exchange: Exchange, error: Exception) -> None:
        try:
            if is_shortage(error):
                exchange.no_descriptor()
            else:
                exchange.connect_failed(self, error)
        except Exception:
            _log.exception("the failed connection to worker %s was not dealt with", self.name)
            exchange.internal_error()


class BackendConnection(UpstreamConnection):
    """One connection to a backend."""

    __slots__ = (
        "_acknowledge",
        "_apart",
        "_backend",
        "_body",
        "_head",
        "_held",
        "_poller",
        "_reader",
        "_request_ended",
        "_socket",
        "dropped",
        "exchange",
        "fresh",
    )

    transport: asyncio.Transport

    def __init__(self, backend: Backend) -> None:
        # Per connection.
        self._backend = backend
        self._acknowledge: Callable[[], object] = _ignore
        self._socket: socket.socket | None = None
        self._poller: select.poll | None = None
        self.write_paused = False
        self._request_ended = False
        self.dropped = False
        """Whether Faucet itself aborts the connection, as if it were lost."""
        self.fresh = True
        """Whether no response has been completed yet: if the connection ends now, it was not closed for being idle."""
        # Per exchange.
        self.exchange: Exchange | None = None
        self._reader = ResponseReader()
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._held = b""  # a response head, kept until the first bytes of its body arrive
        self._apart = False  # whether head and body arrived in two reads

    # -- sending -----------------------------------------------------------------------------------------------

    def usable(self, exchange: Exchange) -> bool:
        """Whether a request may be sent on this connection. For a request that could not be sent again, first check the
        socket for a close by the worker that the loop has not seen yet (RFC 9112, 9.6)."""
        if self.transport.is_closing() or self.exchange is not None:
            return False
        if exchange.head.method in IDEMPOTENT and exchange.pool.retries:
            return True
        return self._poller is None or not self._poller.poll(0)

    def send(self, exchange: Exchange) -> None:
        """Send a request, as far as it has arrived."""
        try:
            if not exchange.connected(self):
                return
            self.exchange = exchange
            if exchange.intake is None:
                self.write(self._head_of(exchange))
            else:
                self.write(self._head_of(exchange) + exchange.intake.begin(self))
                exchange.intake.go_on()
        except Exception:
            _log.exception("a request could not be sent to worker %s", self._backend.name)
            exchange.internal_error()

    def _head_of(self, exchange: Exchange) -> bytes:
        """Return the head to send."""
        return exchange.head.raw

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is ending (uvloop raises then, where asyncio drops them)."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def end_request(self) -> None:
        """Close the sending side, because the rest of the request will never be sent, and wait for the worker to react.

        TLS has no half-close, so abort: a worker does not begin before it has the whole request.
        """
        if self.transport.is_closing():
            return
        self._request_ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.abort()

    def drop_response(self) -> None:
        """Discard a response that is not valid HTTP, until the worker closes the connection, as it does when done."""
        self._body = UntilCloseBody()
        self._held = b""
        self.resume_reading()
        self.end_request()

    def pause_reading(self) -> None:
        """Stop reading the response, so that the worker has to wait."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo pause_reading. Idempotent."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        """Close at once, without notifying the exchange."""
        self.exchange = None
        if self._backend.connection is self:
            self._backend.connection = None
        self.transport.abort()

    # -- events ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is None or transport.get_extra_info("ssl_object") is not None:
            return  # the raw bytes of a TLS socket cannot be used here
        # A duplicate of the socket: uvloop's object creates a new one for each call.
        try:
            copy = os.dup(sock.fileno())
        except OSError:
            return  # no descriptor to spare: works without, but slower
        own = self._socket = socket.socket(sock.family, sock.type, sock.proto, fileno=copy)
        self._poller = select.poll()
        self._poller.register(own.fileno(), select.POLLIN)
        if _QUICKACK is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # httpuv sends head and body apart and waits for an ACK in between, which Linux holds back for 40 ms.
            # The option wears off, so it is set again after each read that did not end a response.
            self._acknowledge = lambda: own.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        exchange = self.exchange
        if exchange is None:
            self.close()  # bytes without a request: they answer nothing
            return
        try:
            self._receive(exchange, data)
        except BadResponse as error:
            exchange.bad_response(error)
        except Exception:
            _log.exception("the response of worker %s could not be handled", self._backend.name)
            if self.exchange in (exchange, None):  # not yet used by another exchange
                self.close()
            exchange.internal_error()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once, however the connection ended."""
        if self._backend.connection is self:
            self._backend.connection = None
        exchange = self.exchange
        try:
            if exchange is not None:
                self._exchange_lost(exchange, exc)
        except Exception:
            _log.exception("the lost connection to worker %s was not dealt with", self._backend.name)
            if exchange is not None:
                exchange.internal_error()
        finally:
            self._close_own_socket()

    def _exchange_lost(self, exchange: Exchange, exc: Exception | None) -> None:
        if exc is not None and (unread := self._unread()):
            self.data_received(unread)
            if self.exchange is None:
                return  # the response is complete, or invalid
        self.exchange = None
        if self._body is not None and self._body.ends_at_eof() and exc is None and ended_by_peer(self.transport):
            exchange.response_ended(b"", until_close=True)
        else:
            exchange.connection_ended(self._loss(exchange, exc))

    def _loss(self, exchange: Exchange, exc: Exception | None) -> Loss:
        begun = self._head is not None or self._reader.size > 0
        reset = isinstance(exc, ConnectionResetError) or self._reset_after_end()
        lost = self.dropped or isinstance(exc, LinkLost | TimeoutError)
        return Loss(
            fresh=self.fresh,
            begun=begun,
            # Only a request without a body is certain to be read whole or not at all.
            unread=reset and not begun and exchange.intake is None,
            supervised=self._backend.supervised,
            request_ended=self._request_ended,
            link=lost and self._backend.lock_grace is not None,
            held=monotonic() - exchange.account.granted_at,
        )

    def _reset_after_end(self) -> bool:
        """Whether a reset has followed the orderly close: the worker had closed before the request reached it."""
        return self._socket is not None and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _close_own_socket(self) -> None:
        """Close the duplicate of the socket, which the transport does not close."""
        if self._socket is not None:
            self._socket.close()
            self._socket = self._poller = None

    def _unread(self) -> bytes:
        """Return the unread bytes in the kernel of a connection that broke while the request was being sent.

        A worker that refuses a long body answers early and closes. The next write to it then fails, and the loop drops
        the connection before it has read the response.
        """
        with contextlib.suppress(OSError):
            if self._socket is not None:
                return self._socket.recv(UNREAD_LIMIT, socket.MSG_DONTWAIT)
        return b""

    def eof_received(self) -> None:
        """Called by the loop: the worker has closed its sending side, so the rest of the request does not matter.

        By default the loop would first wait for the write buffer to empty, which may never happen.
        """
        self.transport.abort()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self.write_paused = True
        if self.exchange is not None and self.exchange.intake is not None:
            self.exchange.intake.worker_paused()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self.write_paused = False
        if self.exchange is not None and self.exchange.intake is not None:
            self.exchange.intake.go_on()

    # -- the response ------------------------------------------------------------------------------------------

    def _receive(self, exchange: Exchange, data: bytes) -> None:
        if self._body is not None:
            held, self._held = self._held, b""
            self._receive_body(exchange, data, held)
            return
        rest = data
        while parsed := self._reader.feed(rest):
            self._head, rest = parsed
            if self._head.status == 503 and self._backend.lock_grace is not None and NOT_BEGUN in self._head.raw:
                self.close()
                exchange.not_begun(
                    self._backend, WorkerBusy("The pod has a request of another Faucet, or knows of a newer one.")
                )
                return
            if self._head.status >= 200:
                if exchange.head.minor == 0:
                    self._head = self._head.for_older_client(exchange.head)
                self._body = exchange.response_head(self._head)
                if rest or self._body.done or self._head.fields.length is None:
                    self._receive_body(exchange, rest, self._head.raw)
                else:
                    # httpuv sends head and body separately. Wait for the body, to write to the client once, not twice.
                    self._acknowledge()
                    self._held = self._head.raw
                    self._apart = True
                return
            if self._head.status == 101:
                if not exchange.head.websocket:
                    raise BadResponse("The worker switched protocols without being asked.")
                self._upgrade(exchange, self._head, rest)
                return
            exchange.interim_response(self._head)
            if not rest:
                break
        self._acknowledge()

    def _receive_body(self, exchange: Exchange, data: bytes, head: bytes) -> None:
        """Relay `head` and those bytes of `data` that belong to the body."""
        body = self._body
        assert body is not None
        end = body.feed(data)
        whole = end == len(data)
        part = head + data[:end]
        if not body.done:
            self._acknowledge()
            exchange.response_part(part)
            return
        self._finish(exchange, clean=whole)
        exchange.response_ended(part, until_close=False)

    def _finish(self, exchange: Exchange, clean: bool) -> None:
        """The response is complete: keep the connection if it may be reused (RFC 9112, 9.3), else close it."""
        head = self._head
        assert head is not None
        # Plumber answers HEAD with a body, which may still be on its way.
        surprise = head.body_may_follow(exchange.head.method)
        # Without quick ACKs, a response in two sends is late on a kept connection, but not on a new one.
        late = self._apart and _QUICKACK is None
        self._apart = False
        asked = exchange.all_sent and not self._request_ended and exchange.head.fields.persistent
        keep = clean and asked and head.fields.persistent and not surprise and not late
        self.exchange = self._head = self._body = None
        self.fresh = False
        if not keep:
            self.close()

    def _upgrade(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        """Hand the connection over to a tunnel."""
        self.exchange = None
        if self._backend.connection is self:
            self._backend.connection = None  # before the lock is released
        self._close_own_socket()  # the tunnel gets all later events of the transport
        exchange.upgraded(self, head, rest)
