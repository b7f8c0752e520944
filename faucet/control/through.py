"""A control connection that leads to another Faucet: the bytes of a client are passed on, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from faucet.fleet import CONTROL_GREETING, Refused, Way
from faucet.net.connect import why_not
from faucet.pauses import timeout

PATIENCE = 5.0
"""Seconds for the other Faucet to accept the connection."""


class FarEnd(asyncio.Protocol):
    """The connection to the other Faucet, for a client whose transport is `near`.

    `made()` is called before any byte comes from there.
    """

    transport: asyncio.Transport

    def __init__(self, way: Way, near: asyncio.Transport, made: Callable[[FarEnd], None]) -> None:
        self._way = way
        self._near = near
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)  # not an instance of it, with uvloop
        self.transport.write(CONTROL_GREETING + self._way.token.encode() + b"\n")
        self._made(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if not self._near.is_closing():
            self._near.write(data)

    def pass_on(self, data: bytes) -> None:
        """Send what the client has sent."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def pause_writing(self) -> None:
        """Called by the loop."""
        if not self._near.is_closing():
            self._near.pause_reading()

    def resume_writing(self) -> None:
        """Called by the loop."""
        if not self._near.is_closing():
            self._near.resume_reading()

    def read(self, on: bool) -> None:
        """Read on, or wait for the client to read. Idempotent."""
        if not self.transport.is_closing():
            (self.transport.resume_reading if on else self.transport.pause_reading)()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._near.close()


async def reach(far: FarEnd, way: Way) -> None:
    """Connect. Raises Refused."""
    try:
        async with timeout(PATIENCE):
            await asyncio.get_running_loop().create_connection(lambda: far, way.host, way.port)
    except (OSError, TimeoutError) as error:
        raise Refused(
            f"the active at {way.host}:{way.port} cannot be reached from here: {why_not(error)}; ask it directly"
        ) from error
