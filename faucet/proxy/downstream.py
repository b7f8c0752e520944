"""The downstream side: one client's connection.

The connection reads heads and body bytes and hands them to an Exchange, one request at a time. Pipelined requests wait
here, unparsed. The connection decides how it ends, so that a client can tell a complete response from a broken one.
It never holds a lock: only the Exchange knows what the behavior of a client means for a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import Callable
from typing import cast

from faucet.http1 import FramingError, RequestHead, RequestReader, StartLine
from faucet.proxy.client_identity import Introduced
from faucet.proxy.clients import Clients
from faucet.proxy.deadlines import RATE_SECONDS
from faucet.proxy.error_responses import CONTINUE, answer
from faucet.proxy.exchange import Exchange
from faucet.proxy.failures import Phase
from faucet.proxy.holders import Upstream
from faucet.proxy.outflow import Outflow
from faucet.proxy.pool import SHUTTING_DOWN, Pool
from faucet.proxy.record import refused
from faucet.proxy.tunnel import Tunnel

LINGER_BYTES = 256 * 1024
"""Bytes that a refused client may go on sending before reading from it stops."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_POLL_HANG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)


class ClientConnection(Outflow):
    """One connection of one client."""

    __slots__ = (
        "_head_begun",
        "_hurried_from",
        "_introduce",
        "_read_paused",
        "_reader",
        "_sent_before",
        "_stash",
        "_turned_away",
        "pool",
    )

    peer: str
    """The client's address, without port; `unix` for a client of a Unix socket."""

    def __init__(self, pool: Pool, clients: Clients) -> None:
        super().__init__(clients)
        self.pool = pool
        self._introduce: Callable[[RequestHead, str], Introduced] | None = clients.introduce
        self._reader = RequestReader()
        self._head_begun = False  # part of a head has arrived, and its deadline is set
        self._stash = b""  # bytes received behind the current request
        self._read_paused = False
        self.half_closed = False  # the client has ended its sending side
        self._hurried_from = (0, 0)  # bytes sent and read by the client at the last check of a shutdown
        self._sent_before = 0  # bytes sent by the client at the last check of its rate
        self._turned_away = False

    # -- events ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = name[0].removeprefix("::ffff:") if isinstance(name, tuple) else "unix"
        # A whole response may be buffered here for a slow reader, which frees the worker early.
        self.transport.set_write_buffer_limits(high=self.clients.free_buffer)
        if not self.clients.came(self):
            self._turned_away = True
            self.clients.turned_away += 1
            self.pool.stats.count_refusal("max_clients")
            self.turn_away(f"{self.clients.limit} clients are connected, which is the limit (--max-clients).")

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        exchange = self.exchange
        if exchange is None:
            if self._linger_left >= 0:
                self._drop(len(data))
            else:
                self._read_head(data)
        elif not exchange.body_done and not self._stash:
            self._read_body(exchange, data)
        else:
            self._keep_for_later(data)

    def eof_received(self) -> bool:
        """Called by the loop: the client has closed its sending side, and has most likely disconnected.

        If a worker is processing the request, the client still gets the response, since it may have half-closed on
        purpose. But a queued request leaves the queue: a client that has disconnected looks exactly the same.
        """
        self.half_closed = True
        exchange = self.exchange
        stays = exchange is not None and exchange.client_half_closed()
        if not stays:
            self._watch_reader()  # the loop closes the transport, but only after all buffered bytes are written
        return stays

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, once, however the connection ended."""
        self._forget()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.clients.on_gone()

    # -- reading -----------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> None:
        try:
            parsed = self._reader.feed(data)
        except FramingError as error:
            self._refuse(error, max(self._reader.size, len(data)), self._reader.start_line(data))
            return
        if parsed is not None:
            if self._head_begun:
                self._head_begun = False
                self.clients.heads.discard(self)
            head, rest = parsed  # not *parsed: compiled, that would be a call by keyword
            self._open_exchange(head, rest)
        elif self._reader.started and not self._head_begun:
            # The whole head has one deadline, from its first byte on: further bytes do not extend it.
            self._head_begun = True
            self._sent_before = self._reader.size
            self.clients.heads.touch(self)
        elif not self._head_begun:
            # Empty lines before a request (RFC 9112, 2.2) begin no request: the idle deadline stays.
            self._await_request()

    def _open_exchange(self, head: RequestHead, rest: bytes) -> None:
        # The idle deadline is left set: it has no effect during an exchange, and is set again after it.
        try:
            body = head.body(self.clients.settings.max_body)
        except FramingError as error:
            self._refuse(error, len(head.raw), StartLine(head.method, head.target, head.stated_minor))
            return
        exchange = self.exchange = Exchange(self.pool, self.clients.budget, self.clients.space, self, head, body)
        if self._introduce is not None:
            account = exchange.account
            head.raw, account.client, account.request_id, account.trace = self._introduce(head, self.peer)
        refusal = self.clients.why_refused(head)
        if refusal is not None:
            self.pool.refuse(exchange, *refusal)
        elif body is None:
            if rest:
                self._keep_for_later(rest)
            exchange.submit()
        else:
            if head.fields.expects_continue and not rest:
                self.write(CONTINUE)
            self._read_body(exchange, rest)

    def _read_body(self, exchange: Exchange, data: bytes) -> None:
        try:
            end = exchange.take_body(data)
        except FramingError as error:
            exchange.refuse(error.status, error.detail)
            return
        if end < len(data):
            self._keep_for_later(data[end:])
            if not exchange.body_done:
                self.pool.loop.call_soon(self._read_more_body)
        exchange.body_arrived()

    def _read_more_body(self) -> None:
        """Continue with chunks that arrived in one read, after other callbacks of the loop have had a turn."""
        exchange, stash, self._stash = self.exchange, self._stash, b""
        if exchange is None or exchange.body_done:
            return
        self._read_body(exchange, stash)
        if not self._stash and exchange.intake is not None and exchange.intake.wants_more:
            self.resume_reading()

    def _keep_for_later(self, data: bytes) -> None:
        """Store bytes of pipelined requests, and stop reading.

        Pipelined requests are answered in order (RFC 9112, 9.3.2).
        """
        self._stash += data
        self.pause_reading()

    def _read_stash(self) -> None:
        stash, self._stash = self._stash, b""
        if self.transport.is_closing() or self._linger_left >= 0:
            return
        self.resume_reading()
        self.data_received(stash)

    def pause_reading(self) -> None:
        """Stop reading: the client's bytes stay in the kernel."""
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo pause_reading, unless stored bytes have to be processed first."""
        if self._read_paused and not self._stash and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def hung_up(self) -> bool:
        """Whether the client has disconnected or closed its sending side, even if the loop has not read that yet."""
        if self.half_closed or self.transport.is_closing():
            return True
        return self._read_paused and bool(self._poll(_POLL_HANG_UP))

    def _poll(self, events: int) -> int:
        poller = select.poll()
        poller.register(self.transport.get_extra_info("socket").fileno(), events)
        ready = poller.poll(0)
        return ready[0][1] if ready else 0

    # -- writing -----------------------------------------------------------------------------------------------

    def exchange_ended(self, keep: bool) -> None:
        """The response is written. `keep` says whether HTTP allows the connection to persist."""
        self.exchange = None
        if not keep or self.half_closed:
            self.linger()
        elif self.write_paused or self._spool is not None:
            self.write_paused = True
            # The client has more to read than may be buffered here; its next request would only add to that.
            self.pause_reading()
        else:
            self._next_request()

    def _next_request(self) -> None:
        if self._stash:
            # Not at once: a hundred pipelined requests must not become a hundred nested calls.
            self.pool.loop.call_soon(self._read_stash)
        else:
            if self._read_paused:
                self.resume_reading()
            self.clients.awaited.touch(self)

    def _await_request(self) -> None:
        """Set the deadline for the client's next request, if none is set. Bytes that arrive do not extend it."""
        if self not in self.clients.awaited:
            self.clients.awaited.touch(self)

    def _refuse(
        self, error: FramingError, received: int, line: StartLine | None = None, retry_after: int | None = None
    ) -> None:
        """Answer a request that never became an exchange. No later bytes of this connection are processed."""
        method = line.method if line else b"GET"
        data = answer(error.status, error.detail, method=method, retry_after=retry_after)
        self.write(data)
        self.pool.record(refused(self.peer, line, error.status, error.detail, len(data), received))
        self.linger()

    # -- ending ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection once the client has read all written bytes, or is too slow in reading them."""
        if self.transport.is_closing() or self._written_first(self.close):
            return
        self._watch_reader()
        self.transport.close()

    def linger(self) -> None:
        """Close while the client may still be sending.

        A close with unread input resets the connection, and the client may lose the response. So the sending side is
        closed first, and bytes that still arrive are discarded for a moment (RFC 9112, 9.6).
        """
        self.exchange = None
        if self.transport.is_closing():
            return
        if self.half_closed:
            self.close()
            return
        if self._written_first(self.linger):
            self.pause_reading()
            return
        self._linger_left = LINGER_BYTES
        self._stash = b""
        self.clients.idle.discard(self)
        self.clients.heads.discard(self)
        self.owes_nothing()
        self.clients.lingering.touch(self)
        try:
            self.transport.write_eof()
        except OSError:  # the client had closed already: its reset arrived before this shutdown
            self.transport.abort()
            return
        self.resume_reading()

    def _drop(self, size: int) -> None:
        """Discard `size` bytes from a lingering client. Stop reading after LINGER_BYTES."""
        self._linger_left = max(self._linger_left - size, 0)
        if not self._linger_left:
            self.pause_reading()

    def stop_lingering(self) -> None:
        """LINGER_SECONDS are over: close, but first let a client that reads get the rest of the response."""
        if self.backlog:
            self._watch_reader()
        else:
            self.transport.abort()

    def cut(self) -> None:
        """Reset the connection, so that a partial response does not look complete to the client.

        `abort` alone sends a FIN, like any close, and a FIN is how a close-delimited response ends.
        """
        sock = self.transport.get_extra_info("socket")
        # The descriptor is valid until connection_lost, even while the transport is closing.
        if self in self.clients and sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def cut_off(self) -> None:
        """Reset the connection after its exchange has ended."""
        self.exchange = None
        self.cut()

    def serves(self, exchange: object) -> bool:
        """Whether this connection waits for the response of `exchange`."""
        return self.exchange is exchange

    def close_if_idle(self) -> None:
        """Close if no request is in progress, partly received or unread in the kernel."""
        if self.exchange is None and not self._reader.started and not self._stash and not self._poll(select.POLLIN):
            self.close()

    def hurry(self) -> None:
        """The service is shutting down: close soon if no request has begun; if one has, require progress."""
        self.clients.parting.touch(self)
        self._hurried_from = self._moved()
        self.clients.hurried.touch(self)

    def _moved(self) -> tuple[int, int]:
        """Return the bytes received of the client's request, and the bytes of responses that the client has read."""
        return self.exchange.account.received if self.exchange is not None else 0, self.taken()

    def check_hurried(self) -> None:
        """Refuse a request that has not arrived during a shutdown, and end one whose client makes no progress."""
        if not self._refuse_unfinished() and not self._cut_stalled():
            self._hurried_from = self._moved()
            self.clients.hurried.touch(self)

    def _refuse_unfinished(self) -> bool:
        """Refuse a request that has begun but not arrived. False if there is none."""
        exchange = self.exchange
        if exchange is None and self._reader.started and self._linger_left < 0:
            self._refuse(FramingError(503, SHUTTING_DOWN), self._reader.size, self._reader.start_line())
            return True
        if exchange is not None and exchange.phase is Phase.READING:
            self.pool.refuse(exchange, "shutdown", SHUTTING_DOWN)
            return True
        return False

    def _cut_stalled(self) -> bool:
        """End a request whose client neither reads its response nor sends its body. False if the client does."""
        exchange, least = self.exchange, self.clients.least_while_draining
        sent, read = (now - before for now, before in zip(self._moved(), self._hurried_from, strict=True))
        unread = bool(self.backlog)
        intake = None if exchange is None else exchange.intake
        stalled = read < least if unread else intake is not None and intake.wants_more and sent < least
        if not stalled:
            return False
        self.clients.cut_while_draining += 1
        if exchange is not None:
            exchange.refuse(408, "The client stopped sending its request, and the service is shutting down.")
        if unread:
            self.cut()
        return True

    @property
    def vacant(self) -> bool:
        """Whether the connection can be closed without loss: no request has begun, and all responses are written."""
        idle = self.exchange is None and not self._reader.started and not self._stash and self._linger_left < 0
        idle = idle and not self.backlog and not self.transport.is_closing()
        return idle and not self._poll(select.POLLIN)

    def turn_away(self, detail: str) -> None:
        """Send 503 without waiting for a request, and close."""
        self._refuse(FramingError(503, detail), 0, retry_after=self.pool.retry_after())

    def refuse(self, status: int, detail: str) -> None:
        """Answer the request in progress, if there is one, with an error."""
        if self.exchange is not None:
            self.exchange.refuse(status, detail)

    def no_memory(self) -> None:
        """The body has waited for memory for the queue timeout: answer 503."""
        if self.exchange is not None:
            seconds = f"{self.clients.settings.queue_timeout:g} s"
            detail = f"No memory for the request's body became free within {seconds}."
            self.pool.refuse(self.exchange, "buffers_full", detail)

    def owes_body(self) -> None:
        """Set the deadlines for the next part of the body, which the client has to send."""
        exchange = self.exchange
        if exchange is None:
            return
        self.clients.bodies.touch(self)
        if self not in self.clients.senders:
            self._sent_before = exchange.account.received
            self.clients.senders.touch(self)

    def owes_nothing(self) -> None:
        """Remove the deadlines of the body: the client has sent all of it, or is not allowed to send more now."""
        self.clients.bodies.discard(self)
        self.clients.senders.discard(self)
        self.clients.memory.discard(self)

    def awaits_memory(self) -> None:
        """Stop reading until there is memory for the rest of the body."""
        self.owes_nothing()
        self.pause_reading()
        self.clients.memory.touch(self)

    def check_sender(self) -> None:
        """Check the rate at which the client sends a body. Answer 408 if it is too low."""
        exchange, least = self.exchange, self.clients.least_moved
        if exchange is None:
            return
        if exchange.account.received - self._sent_before < least:
            seconds = self.clients.settings.client_timeout or RATE_SECONDS
            exchange.refuse(408, f"The request arrived too slowly: less than {least} bytes in {seconds:g} s.")
            return
        self._sent_before = exchange.account.received
        self.clients.senders.touch(self)

    def check_head(self) -> None:
        """The head is incomplete after its deadline: answer 408. Without a client timeout, check the rate instead."""
        moved = self._reader.size - self._sent_before
        if self.clients.settings.client_timeout or moved < self.clients.least_moved:
            self.too_slow()
        else:
            self._sent_before = self._reader.size
            self.clients.heads.touch(self)

    def too_slow(self) -> None:
        """The rest of a head or of a body has not arrived in time: answer 408."""
        seconds = f"{self.clients.settings.client_timeout or RATE_SECONDS:g} s"
        error = FramingError(408, f"The request did not arrive within {seconds}.")
        if self.exchange is None:
            self._refuse(error, self._reader.size, self._reader.start_line())
        else:
            self.exchange.refuse(error.status, error.detail)

    def idle_too_long(self) -> None:
        """No request has arrived within the keep-alive timeout: close, unless the connection is in use."""
        if self.exchange is not None or self._reader.started or self._linger_left >= 0:
            return
        if self.backlog:
            self._watch_reader()
        else:
            self.close()

    def check_reader(self) -> None:
        """Check the rate at which the client reads. Reset the connection if it is too low."""
        left = self.backlog
        if self._growing:
            self._count_buffer()
        if left and self.taken() - self._delivered < self.clients.least_moved:
            self.cut()
        elif left:
            self._watch_reader()
        elif self._linger_left >= 0:
            self.transport.abort()
        elif self.exchange is None:
            self._await_request()

    def become_tunnel(self, head: bytes, backend: Upstream | None, worker: asyncio.Transport) -> None:
        """Send the head of the 101 response, and hand the transport over to a tunnel."""
        self.write(head)
        self.exchange = None
        self._forget()
        ahead, self._stash = self._stash, b""
        self.resume_reading()
        Tunnel(self.clients.tunnels, backend, self.transport, worker).open(ahead, self.half_closed)

    def _forget(self) -> None:
        self._forget_buffer()
        if self._turned_away:
            self._turned_away = False
            self.clients.turned_away -= 1
        self.clients.gone(self)

    @property
    def waits(self) -> bool:
        """Whether the client waits for a response, or for the rest of one."""
        return self.exchange is not None or bool(self.backlog)
