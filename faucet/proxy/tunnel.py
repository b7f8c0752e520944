"""A tunnel after `101 Switching Protocols`: relays bytes between two transports, in both directions.

Bytes are not parsed. Back-pressure of each side is passed on to the other, and so is a half-close, so that a protocol
with a closing handshake can finish it. If the worker has exited, the bytes that it had sent are delivered, and both
sides are closed.
"""

from __future__ import annotations

import asyncio

from faucet.proxy.holders import Upstream

LAST_WORDS_SECONDS = 1.0
"""The most seconds for the bytes of an exited worker to reach its client."""


class Tunnel:
    """Two connected transports. The tunnel removes itself from `tunnels` when both are closed.

    `backend` is the worker; None if the worker is gone already.
    """

    def __init__(
        self, tunnels: set[Tunnel], backend: Upstream | None, client: asyncio.Transport, worker: asyncio.Transport
    ) -> None:
        self._tunnels = tunnels
        self.backend = backend
        self.gone = False
        """Whether the worker has exited."""
        self._last_words: asyncio.TimerHandle | None = None
        self._ends = (_End(self, client), _End(self, worker))
        self._ends[0].other, self._ends[1].other = self._ends[1], self._ends[0]
        self._open = 2
        tunnels.add(self)
        if backend is not None:
            backend.tunnels += 1

    def open(self, ahead: bytes, ended: bool) -> None:
        """Start relaying. `ahead` are bytes already received from the client; `ended`: it has half-closed."""
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
        """The worker has exited: close both sides once its bytes are delivered, at most LAST_WORDS_SECONDS from now.

        The kernel closes the worker's connection, unless a child process of the worker still has it open.
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
        """Abort both connections."""
        for end in self._ends:
            end.transport.abort()

    def end_closed(self) -> None:
        """Called when one of the transports is closed. After both, remove the tunnel."""
        self._open -= 1
        if not self._open:
            self._tunnels.discard(self)
            if self.backend is not None:
                self.backend.tunnels -= 1
            if self._last_words is not None:
                self._last_words.cancel()


class _End(asyncio.Protocol):
    """One side of a tunnel."""

    __slots__ = ("_tunnel", "ended", "other", "transport")

    other: _End

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.ended = False  # this side has half-closed

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
        # If this side was reset, abort the other, so that it does not take its data for complete.
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()
        self._tunnel.end_closed()
