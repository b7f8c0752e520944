"""One connection between two members: messages in order, and an end that both notice within seconds.

A relay presents the token of the Lease before anything else; a stranger is cut off. Each end shows signs of life, so
that a peer that hangs, or that a network has swallowed, is given up.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import cast

from faucet.ha.wire import LINE_LIMIT, BadMessage, Message, Ping, decode, encode

PING_EVERY = 1.0
"""Seconds between two signs of life."""

SILENCE = 4.0
"""Seconds without one after which the other end is lost: less than a renew deadline, and less than /readyz waits."""

UNREAD_LIMIT = 4 * LINE_LIMIT
"""Bytes that may wait for a peer that does not read."""

GREETING = b"faucet-peer/1 "


class PeerConnection(asyncio.Protocol):
    """`on_message(self, message)` for each message, then `on_lost(self)` once, whoever closed it.

    `token`: what this end presents (`presents`), or asks for.
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
        """Requests that are queued at the other end."""
        self._on_message = on_message
        self._on_lost = on_lost
        self._known = presents  # whether the other end is no stranger
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
        """Show life, or give up a peer that shows none. A stranger is shown nothing."""
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
        """Whether messages may still pass."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, message: Message) -> None:
        """Send a message, if the connection still stands."""
        if not self.is_open or not self._known:
            return
        assert self._transport is not None
        self._transport.write(encode(message))
        if self._transport.get_write_buffer_size() > UNREAD_LIMIT:
            self.close()

    def close(self) -> None:
        """Cut it: what has not been sent is lost. `on_lost` follows."""
        if self._transport is not None:
            self._transport.abort()
