"""The upstream side: a backend, and the one connection that carries its requests.

A connection serves one exchange at a time and is kept for the next, unless there is any doubt about it. Whatever
arrives is framed here; what it means for the request, and for the lock, is the Exchange's to say. No exception may
leave `data_received`: the loop would drop the connection, and the lock would be lost with it.
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
from faucet.proxy.record import Account

_log = logging.getLogger("faucet")

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection to a backend to be accepted."""

SHORTAGE_SECONDS, SHORTAGE_PAUSE = 2.0, 0.05
"""How long a request waits for a descriptor, and between two tries."""

UNREAD_LIMIT = 256 * 1024
"""Bytes of an early answer that are still looked for when the connection has broken."""

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


def _ignore(*_: object) -> None:
    pass


class Backend:
    """One worker as the proxy sees it: an address with a lock. One per incarnation; a restarted worker is another.

    `on_unreachable(error)` is called when it accepts no connection (it is held then, until resumed), `on_hung(record)`
    when it did not answer in time: it is removed already if somebody can end it; with a `lock_grace` (seconds) it stays
    locked for so long, since it is still at work. `supervised`: it is removed as soon as its process exits.
    """

    queues = False
    """See pool.Upstream."""

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
        """Close the connection, if no exchange uses it, or `whatever` it is used for."""
        if self.connection is not None and (whatever or self.connection.exchange is None):
            self.connection.close()

    def drop(self) -> bool:
        """Cut the connection, as if it had been lost: whatever it is used for fails. False if there is none."""
        if self.connection is None:
            return False
        self.connection.dropped = True
        self.connection.transport.abort()
        return True

    def _new_connection(self) -> BackendConnection:
        return BackendConnection(self)

    async def _open(self, exchange: Exchange) -> asyncio.BaseProtocol:
        """A new connection. If we are short of descriptors, wait a while for one. Raises what the connector does."""
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
        except Exception as error:  # whatever it is, the lock must not be lost with it
            if not isinstance(error, OSError):
                _log.exception("no connection to worker %s", self.name)
            self._connect_failed(exchange, error)
            return
        connection = cast("BackendConnection", protocol)
        if self.gone:
            # Whoever listens at this address by now, it is not this worker.
            connection.close()
            self._connect_failed(exchange, ConnectionRefusedError())
        elif not exchange.holds(self):
            connection.close()  # its request has ended meanwhile, and the lock may be another's
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


class BackendConnection(asyncio.Protocol):
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
        "transport",
        "write_paused",
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
        """It is being cut by us, whatever the worker does."""
        self.fresh = True
        """It has answered nothing yet: if it ends now, that is not because it was idle for too long."""
        # Per exchange.
        self.exchange: Exchange | None = None
        self._reader = ResponseReader()
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._held = b""  # a head that waits for the first bytes of its body
        self._apart = False  # head and body came in two reads

    # -- sending -----------------------------------------------------------------------------------------------

    def usable(self, exchange: Exchange) -> bool:
        """Whether a request may be sent here. Where it could not be sent again if the worker has closed the
        connection unseen, look at the socket once more (RFC 9112, 9.6)."""
        if self.transport.is_closing() or self.exchange is not None:
            return False
        if exchange.head.method in IDEMPOTENT and exchange.pool.settings.retry != "none":
            return True
        return self._poller is None or not self._poller.poll(0)

    def send(self, exchange: Exchange) -> None:
        """Send a request, as far as it is in hand."""
        try:
            if not exchange.connected(self):
                return
            self.exchange = exchange
            if exchange.intake is None:
                self.write(exchange.head.raw)
            else:
                self.write(exchange.head.raw + exchange.intake.begin(self))
                exchange.intake.go_on()
        except Exception:
            _log.exception("a request could not be sent to worker %s", self._backend.name)
            exchange.internal_error()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is ending (uvloop raises then, where asyncio drops them)."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def end_request(self) -> None:
        """The rest of the request will never come: tell the worker, and wait for what it does.

        With TLS that cannot be told but by closing; a worker does not begin before it has the whole request.
        """
        if self.transport.is_closing():
            return
        self._request_ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.abort()

    def drop_response(self) -> None:
        """What the worker says is no HTTP. It may go on with that: wait until it closes, as it does when it is done."""
        self._body = UntilCloseBody()
        self._held = b""
        self.resume_reading()
        self.end_request()

    def pause_reading(self) -> None:
        """Let the worker wait with the rest of its response."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo pause_reading; harmless without."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        """Close at once, in silence: the exchange, if any, is not told."""
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
            return  # what is in the socket of a TLS connection means nothing to us
        # A socket object of our own: uvloop's makes a new one for each call.
        try:
            copy = os.dup(sock.fileno())
        except OSError:
            return  # no descriptor to spare: it is slower without
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
            self.close()  # bytes when nothing was asked: nobody can tell what they answer
            return
        try:
            self._receive(exchange, data)
        except BadResponse as error:
            exchange.bad_response(error)
        except Exception:
            _log.exception("the response of worker %s could not be handled", self._backend.name)
            if self.exchange in (exchange, None):  # not yet another's
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
                return  # that was the whole answer, or no answer at all
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
            # Only a request without a body is sure to be read at once, or not at all.
            unread=reset and not begun and exchange.intake is None,
            supervised=self._backend.supervised,
            request_ended=self._request_ended,
            link=lost and self._backend.lock_grace is not None,
            held=monotonic() - exchange.account.granted_at,
        )

    def _reset_after_end(self) -> bool:
        """Whether a reset has followed the orderly end: the worker had closed before our request reached it."""
        return self._socket is not None and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _close_own_socket(self) -> None:
        """The transport closes its descriptor, not ours."""
        if self._socket is not None:
            self._socket.close()
            self._socket = self._poller = None

    def _unread(self) -> bytes:
        """What is left in the kernel of a connection that broke while we were sending.

        A worker that refuses a long body answers early and closes. Our next write then fails, and the loop gives up
        the connection before it has read the answer.
        """
        with contextlib.suppress(OSError):
            if self._socket is not None:
                return self._socket.recv(UNREAD_LIMIT, socket.MSG_DONTWAIT)
        return b""

    def eof_received(self) -> None:
        """Called by the loop: the worker says no more, so nothing we could still send it matters.

        By default the loop would first wait for our write buffer to empty, which may be never.
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
                exchange.not_begun(self._backend, WorkerBusy("The pod is busy with a request of another Faucet."))
                return
            if self._head.status >= 200:
                if exchange.head.minor == 0:
                    self._head = self._head.for_older_client(exchange.head)
                self._body = exchange.response_head(self._head)
                if rest or self._body.done or self._head.fields.length is None:
                    self._receive_body(exchange, rest, self._head.raw)
                else:
                    # Head and body come apart (httpuv), but soon: one write to the client instead of two.
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
        """The response is complete: keep the connection only if nothing speaks against it (RFC 9112, 9.3)."""
        head = self._head
        assert head is not None
        # Plumber answers HEAD with a body. It has not come yet, perhaps, but it will.
        surprise = head.body_may_follow(exchange.head.method)
        # Without quick ACKs the next answer in two sends would be late; one on a fresh connection is not.
        late = self._apart and _QUICKACK is None
        self._apart = False
        asked = exchange.all_sent and not self._request_ended and exchange.head.fields.persistent
        keep = clean and asked and head.fields.persistent and not surprise and not late
        self.exchange = self._head = self._body = None
        self.fresh = False
        if not keep:
            self.close()

    def _upgrade(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        """The connection belongs to the tunnel from here on."""
        self.exchange = None
        if self._backend.connection is self:
            self._backend.connection = None  # before the lock goes to the next
        self._close_own_socket()  # what happens to the transport is told to the tunnel
        exchange.upgraded(self, head, rest)
