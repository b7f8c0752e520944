"""The two connections of a request, as it needs them."""

from __future__ import annotations

import asyncio
from typing import Protocol

from faucet.proxy.holders import Upstream


class Downstream(Protocol):
    """The client's."""

    peer: str
    """The client's address."""
    half_closed: bool
    """The client has ended its sending side."""
    write_paused: bool
    """As much waits to be read by the client as may."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def owes_body(self) -> None:
        """The next part of the body is the client's to send, soon, and not too slowly."""

    def owes_nothing(self) -> None:
        """It has sent its body, or has to wait with the rest."""

    def awaits_memory(self) -> None:
        """There is no memory for the rest of its body yet."""

    def pause_reading(self) -> None:
        """Let the client's bytes wait in the kernel."""

    def resume_reading(self) -> None:
        """Undo pause_reading."""

    def hung_up(self) -> bool:
        """Whether the client has left, even if that was not read yet."""

    def serves(self, exchange: object) -> bool:
        """Whether the client waits for the answer of that exchange."""

    def exchange_ended(self, keep: bool) -> None:
        """The answer is written. `keep` says whether its message lets the connection go on."""

    def linger(self) -> None:
        """Close while the client may still be sending."""

    def cut_off(self) -> None:
        """Reset the connection: its request has ended, and what it has of the answer must not look complete."""

    def become_tunnel(self, head: bytes, backend: Upstream | None, worker: asyncio.Transport) -> None:
        """Send the head of the 101 response, and hand the transport over to a tunnel; `backend` is its worker."""


class UpstreamConnection(Protocol):
    """The worker's."""

    transport: asyncio.Transport
    write_paused: bool
    """The worker does not take what it is sent as fast as it comes."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def pause_reading(self) -> None:
        """Let the worker wait with the rest of its response."""

    def resume_reading(self) -> None:
        """Undo pause_reading."""

    def end_request(self) -> None:
        """The rest of the request will never come."""

    def drop_response(self) -> None:
        """What the worker says is no HTTP: wait for its end."""

    def close(self) -> None:
        """Close at once; the exchange is not told."""
