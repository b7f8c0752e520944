"""Every client connection has a deadline, or a reason to stay without one: the invariant, checked after each event.

A connection that has neither stays until its client likes to go, and the end of the service waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faucet.proxy.build import COMPILED
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.exchange import Exchange
from faucet.proxy.failures import Phase
from faucet.proxy.pool import Pool

EVENTS = (
    "connection_made", "data_received", "eof_received", "pause_writing", "resume_writing", "exchange_ended", "linger",
    "pause_reading", "resume_reading", "check_reader", "idle_too_long", "stop_lingering", "close_if_idle",
)  # fmt: skip


def why_it_stays(client: ClientConnection) -> str:
    """The deadline of a connection, or what it waits for that has an end of its own; empty if there is nothing."""
    exchange = client.exchange
    for timeouts in client.clients.timeouts:
        if client in timeouts:
            return f"a deadline of {timeouts._seconds} s" if timeouts._timer is not None else ""
    if client.transport.is_closing() and not client.transport.get_write_buffer_size():
        return "is closed in this turn of the loop"
    if client._stash and (exchange is None or not exchange.body_done):
        return "what it has sent is read in this turn of the loop"
    return _why_exchange_goes_on(client.pool, exchange) if exchange is not None else ""


def _why_exchange_goes_on(pool: Pool, exchange: Exchange) -> str:
    if exchange.phase is Phase.QUEUED and any(ticket is exchange for ticket, _ in pool.dispatcher.queue()):
        return "is in the queue" if pool._expiry is not None else ""
    if exchange in pool.requests:
        return "is under the request timeout"
    if exchange._grace is not None or exchange._retry is not None:
        return "waits for the end of its worker, and not for long"
    return ""


class Watch:
    """Looks at each connection after each event."""

    def __init__(self) -> None:
        self.unwatched: list[str] = []

    def watched(self, base: type[ClientConnection]) -> type[ClientConnection]:
        """The same connection, looked at; as it is where it is compiled, since Python can make no subclass of that."""
        if COMPILED:
            return base

        def looked_at(name: str) -> Callable[..., Any]:
            original = getattr(base, name)

            def method(client: ClientConnection, *arguments: Any, **named: Any) -> Any:
                client.pool.loop.call_soon(self.look, client, name)
                return original(client, *arguments, **named)

            return method

        return type(f"Watched{base.__name__}", (base,), {"__slots__": (), **{name: looked_at(name) for name in EVENTS}})

    def look(self, client: ClientConnection, event: str) -> None:
        """Remember a connection that has neither a deadline nor a reason."""
        # Zero turns a deadline off: that is what was asked for.
        settings = client.pool.settings
        if client not in client.clients or not (settings.keep_alive and settings.client_timeout):
            return
        if settings.queue_timeout and settings.request_timeout and not why_it_stays(client):
            self.unwatched.append(f"after {event}: {client.exchange!r}, of which {client._stash[:40]!r} is left")
