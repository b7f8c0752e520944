"""The interfaces of the two connections of an exchange: to the client, and to the worker.

They are base classes, not typing.Protocols: the methods of those are looked up by name in the compiled build, too.
"""

from __future__ import annotations

import asyncio

from faucet.proxy.holders import Upstream


class Downstream(asyncio.Protocol):
    """The client's connection."""

    __slots__ = ("half_closed", "peer", "write_paused")

    peer: str
    """The client's address."""
    half_closed: bool
    """The client has ended its sending side."""
    write_paused: bool
    """No more of the response can be buffered for the client."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def owes_body(self) -> None:
        """Set the deadlines for the next part of the body, which the client has to send."""
        raise NotImplementedError

    def owes_nothing(self) -> None:
        """Remove the deadlines of the body: the client has sent all of it, or is not allowed to send more now."""
        raise NotImplementedError

    def awaits_memory(self) -> None:
        """Stop reading until there is memory for the rest of the body."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Stop reading: the client's bytes stay in the kernel."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Undo pause_reading."""
        raise NotImplementedError

    def hung_up(self) -> bool:
        """Whether the client has disconnected or closed its sending side, even if the loop has not read that yet."""
        raise NotImplementedError

    def serves(self, exchange: object) -> bool:
        """Whether the client waits for the response of `exchange`."""
        raise NotImplementedError

    def exchange_ended(self, keep: bool) -> None:
        """The response is written. `keep` says whether HTTP allows the connection to persist."""
        raise NotImplementedError

    def linger(self) -> None:
        """Close while the client may still be sending."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """Reset the connection after its exchange has ended, so that a partial response does not look complete."""
        raise NotImplementedError

    def become_tunnel(self, head: bytes, backend: Upstream | None, worker: asyncio.Transport) -> None:
        """Send the head of the 101 response, and hand the transport over to a tunnel; `backend` is its worker."""
        raise NotImplementedError


class UpstreamConnection(asyncio.Protocol):
    """The worker's connection."""

    __slots__ = ("transport", "write_paused")

    transport: asyncio.Transport
    write_paused: bool
    """The worker reads the request more slowly than it is sent."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Stop reading the response, so that the worker has to wait."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Undo pause_reading."""
        raise NotImplementedError

    def end_request(self) -> None:
        """Close the sending side: the rest of the request will never be sent."""
        raise NotImplementedError

    def drop_response(self) -> None:
        """Discard a response that is not valid HTTP, until the worker closes the connection."""
        raise NotImplementedError

    def close(self) -> None:
        """Close at once, without notifying the exchange."""
        raise NotImplementedError
