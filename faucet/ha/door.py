"""The listener for members: the first line of a connection tells its kind. Without the token, it is aborted."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from typing import cast

from faucet.ha.connection import SILENCE

Factory = Callable[[], asyncio.Protocol]

LINE_LIMIT = 200
"""Longest first line (a greeting and a token), in bytes."""


class Door(asyncio.Protocol):
    """A connection before its first line. If that is one of `kinds` followed by the token, the protocol of that kind
    takes over. Any other line goes to the protocol that `messages` creates, which checks the line itself.

    It is an element of `unknown` as long as the connection is open and its kind is not known.
    """

    def __init__(self, token: str, messages: Factory, kinds: Mapping[bytes, Factory], unknown: set[Door]) -> None:
        self._token = token.encode()
        self._messages = messages
        self._kinds = kinds
        self._unknown = unknown
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # not an instance of it, with uvloop
        self._deadline = asyncio.get_running_loop().call_later(SILENCE, self._transport.abort)
        self._unknown.add(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        line, end, rest = self._buffer.partition(b"\n")
        if not end and len(line) <= LINE_LIMIT:
            return
        greeting, space, token = line.partition(b" ")
        kind = self._kinds.get(greeting + space)
        if kind is None:
            self._hand_over(self._messages(), self._buffer)
        elif end and self._token and hmac.compare_digest(token, self._token):
            self._hand_over(kind(), rest)
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once: nothing was sent to it that could be lost."""
        self._transport.abort()

    def _hand_over(self, protocol: asyncio.Protocol, data: bytes) -> None:
        self._leave()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if data and not self._transport.is_closing():
            protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._leave()

    def _leave(self) -> None:
        self._deadline.cancel()
        self._unknown.discard(self)
