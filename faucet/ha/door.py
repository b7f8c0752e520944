"""Where members connect: the first line tells whether messages follow, or requests; a stranger is cut off."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable

from faucet.ha.connection import SILENCE
from faucet.ha.lanes import GREETING

Factory = Callable[[], asyncio.Protocol]


class Door(asyncio.Protocol):
    """A connection whose first line has not come. `messages` makes a protocol that checks that line itself."""

    def __init__(self, token: str, messages: Factory, requests: Factory) -> None:
        self._line = GREETING + token.encode()
        self._messages = messages
        self._requests = requests
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline = asyncio.get_running_loop().call_later(SILENCE, transport.abort)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        line, end, rest = self._buffer.partition(b"\n")
        if not end and len(line) <= len(self._line):
            return
        if not line.startswith(GREETING):
            self._hand_over(self._messages(), self._buffer)
        elif end and hmac.compare_digest(line, self._line):
            self._hand_over(self._requests(), rest)
        else:
            self._transport.abort()

    def _hand_over(self, protocol: asyncio.Protocol, data: bytes) -> None:
        self._deadline.cancel()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if data and not self._transport.is_closing():
            protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._deadline.cancel()
