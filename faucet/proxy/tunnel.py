"""What is left of a request after `101 Switching Protocols`: two pipes between two transports.

Bytes pass unread, each side's slowness slows the other, and each side's end of sending is passed on as that, so that
a protocol with its own closing handshake can finish it. A worker that has exited finishes nothing: what it has sent is
delivered, and both sides are closed.
"""

from __future__ import annotations

import asyncio

from faucet.proxy.holders import Upstream

LAST_WORDS_SECONDS = 1.0
"""How long what a worker has sent before it exited may take to reach its client."""


class Tunnel:
    """Two connected transports. It takes itself out of `tunnels` when both are closed.

    `backend` is the worker's; None if that is gone already.
    """

    def __init__(
        self, tunnels: set[Tunnel], backend: Upstream | None, client: asyncio.Transport, worker: asyncio.Transport
    ) -> None:
        self._tunnels = tunnels
        self.backend = backend
        self.gone = False
        """The worker has exited."""
        self._last_words: asyncio.TimerHandle | None = None
        self._ends = (_End(self, client), _End(self, worker))
        self._ends[0].other, self._ends[1].other = self._ends[1], self._ends[0]
        self._open = 2
        tunnels.add(self)
        if backend is not None:
            backend.tunnels += 1

    def open(self, ahead: bytes, ended: bool) -> None:
        """Start, with what the client has sent ahead, and whether it has `ended` its sending side."""
        for end in self._ends:
            end.transport.set_protocol(end)
            end.transport.set_write_buffer_limits()
        if any(end.transport.is_closing() for end in self._ends):
            self.abort()
            return
        if ahead:
            self._ends[1].transport.write(ahead)
        if ended:
            self._ends[0].eof_received()
        if self.backend is None:
            self.worker_gone()

    def worker_gone(self) -> None:
        """The worker has exited: close both sides as soon as the client has what the worker sent, and soon in any case.

        The kernel ends its connection, unless a child process of it has that open still.
        """
        if self.gone:
            return
        self.gone = True
        self._last_words = asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self.abort)
        client, worker = self._ends
        if worker.ended:
            client.transport.close()
            worker.transport.close()

    def abort(self) -> None:
        """Cut both sides."""
        for end in self._ends:
            end.transport.abort()

    def end_closed(self) -> None:
        """One of the transports is closed."""
        self._open -= 1
        if not self._open:
            self._tunnels.discard(self)
            if self.backend is not None:
                self.backend.tunnels -= 1
            if self._last_words is not None:
                self._last_words.cancel()


class _End(asyncio.Protocol):
    """One side."""

    __slots__ = ("_tunnel", "ended", "other", "transport")

    other: _End

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.ended = False  # it sends no more

    def data_received(self, data: bytes) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        transport = self.other.transport
        if self.other.ended or self._tunnel.gone:
            transport.close()
            return False
        if not transport.is_closing() and not transport.can_write_eof():
            transport.close()  # TLS knows no half-close
            return False
        if not transport.is_closing():
            transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        # An abort where this side was cut, so that the other does not take what it has for complete.
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()
        self._tunnel.end_closed()
