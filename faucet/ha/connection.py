"""One connection between two members: messages arrive in order, and both ends notice a lost connection within seconds.

A relay first presents the token of the Lease. A connection without the token is aborted. Each end sends pings, so that
a connection to a hung or unreachable peer is closed.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import cast

from faucet.ha.wire import LINE_LIMIT, BadMessage, Message, Ping, decode, encode

PING_EVERY = 1.0
"""Seconds between two pings."""

SILENCE = 4.0
"""Seconds without data after which the peer is lost: less than a renew deadline, and less than /readyz waits."""

UNREAD_LIMIT = 4 * LINE_LIMIT
"""Most bytes that are buffered for a peer that does not read."""

GREETING = b"faucet-peer/1 "


class PeerConnection(asyncio.Protocol):
    """Calls `on_message(self, message)` for each message, then `on_lost(self)` once, whichever end closed it.

    `token`: the token that this end presents (if `presents`), or requires.
    """

    def __init__(
        self, token: str, *, presents: bool, epoch: Callable[[], int],
        on_message: Callable[[PeerConnection, Message], None], on_lost: Callable[[PeerConnection], None],
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        self._token = token
        self._presents = presents
        self._epoch = epoch
        self._waiting = waiting
        self.waiting = 0
        """Number of requests queued at the peer."""
        self._on_message = on_message
        self._on_lost = on_lost
        self._known = presents  # whether the peer is authenticated
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0

    # -- called by asyncio -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # not an instance of it, with uvloop
        self._heard_at = asyncio.get_running_loop().time()
        if self._presents:
            self._transport.write(GREETING + self._token.encode() + b"\n")
        self._beat()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._heard_at = asyncio.get_running_loop().time()
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for line in lines:
            if self._transport is None or self._transport.is_closing():
                return
            self._take(bytes(line))
        if len(rest) > (LINE_LIMIT if self._known else len(GREETING) + len(self._token) + 1):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)

    # -- lines -------------------------------------------------------------------------------------------------

    def _take(self, line: bytes) -> None:
        if not self._known:
            self._known = bool(self._token) and hmac.compare_digest(line, GREETING + self._token.encode())
            if not self._known:
                self.close()
            return
        try:
            message = decode(line)
        except BadMessage:
            self.close()
            return
        if isinstance(message, Ping):
            self.waiting = message.waiting
        else:
            self._on_message(self, message)

    def _beat(self) -> None:
        """Send a ping, or close the connection to a silent peer. An unauthenticated peer gets no ping."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._heard_at > SILENCE:
            self.close()
            return
        if self._known:
            self.send(Ping(self._epoch(), self._waiting()))
        self._timer = loop.call_later(PING_EVERY, self._beat)

    # -- for its owner -----------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: Message) -> None:
        """Send a message if the connection is open."""
        if not self.is_open or not self._known:
            return
        assert self._transport is not None
        self._transport.write(encode(message))
        if self._transport.get_write_buffer_size() > UNREAD_LIMIT:
            self.close()

    def close(self) -> None:
        """Abort the connection: data that has not been sent is lost. `on_lost` follows."""
        if self._transport is not None:
            self._transport.abort()
