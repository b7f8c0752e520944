"""The connected clients, their deadlines, and the resources that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol

from faucet import machine
from faucet.http1 import RequestHead
from faucet.proxy.budget import FREE, Budget
from faucet.proxy.client_identity import ClientIdentity
from faucet.proxy.deadlines import DRAIN_SECONDS, RATE_SECONDS, Timeouts
from faucet.proxy.fencing import OLDER_EPOCH, Fence
from faucet.proxy.holders import Upstream
from faucet.proxy.pool import SHUTTING_DOWN, Pool
from faucet.proxy.pressure import Pressure
from faucet.proxy.spool import SpoolSpace, directory_on_disk
from faucet.proxy.trim import Trimmer, system_trim
from faucet.proxy.tunnel import Tunnel
from faucet.settings import ProxySettings

LINGER_SECONDS = 1.0
"""Seconds that a refused client may go on sending before its connection is closed (RFC 9112, 9.6)."""

PARTING_SECONDS = 0.25
"""Seconds that a connection without a request is kept open when the service shuts down. A busy client may have sent its
next request already, since the last response did not ask it to stop."""

CANDIDATES = 200
"""The most connections that are examined to find an idle one."""


class Client(Protocol):
    """A client's connection, as its deadlines see it."""

    transport: asyncio.Transport

    @property
    def vacant(self) -> bool:
        """Whether the connection can be closed without loss."""

    @property
    def waits(self) -> bool:
        """Whether the client waits for a response, or for the rest of one."""

    def close(self) -> None:
        """Close the connection once the client has read all written bytes, or is too slow in reading them."""

    def turn_away(self, detail: str) -> None:
        """Send 503 without waiting for a request, and close."""

    def hurry(self) -> None:
        """Called when the service begins to shut down: set the deadlines of the shutdown."""

    def check_hurried(self) -> None:
        """Called DRAIN_SECONDS after `hurry`, and again after each further DRAIN_SECONDS."""

    def refuse(self, status: int, detail: str) -> None:
        """Answer the request in progress, if there is one, with an error."""

    def cut(self) -> None:
        """Reset the connection."""

    def idle_too_long(self) -> None:
        """Called when no request has arrived within the keep-alive timeout."""

    def check_head(self) -> None:
        """Called when the deadline of a request head has passed."""

    def too_slow(self) -> None:
        """Called when no more of a request body has arrived within the client timeout."""

    def check_sender(self) -> None:
        """Called to check the rate at which the client sends a body."""

    def no_memory(self) -> None:
        """Called when the body has waited for memory for the queue timeout."""

    def check_reader(self) -> None:
        """Called to check the rate at which the client reads a response."""

    def stop_lingering(self) -> None:
        """Called LINGER_SECONDS after the connection began to linger."""

    def close_if_idle(self) -> None:
        """Close the connection if no request has begun."""

    def __hash__(self) -> int: ...


class Clients:
    """The clients of one service, and the WebSocket tunnels that some of their connections have become."""

    def __init__(self, settings: ProxySettings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.tunnels: set[Tunnel] = set()
        self.on_gone: Callable[[], None] = lambda: None
        """Called when a client has disconnected."""
        self.turned_away = 0
        """Connected clients beyond the limit, which are being answered with 503."""
        self.limit = settings.max_clients or machine.max_clients()
        self.trimmer = Trimmer(pool.loop, system_trim(), lambda: bool(pool.dispatcher.locked))
        total = settings.buffer_total or machine.buffer_total(machine.memory())
        self.budget = Budget(total, self.trimmer.note)
        self.space = SpoolSpace(directory_on_disk(settings.spool_dir), settings.spool_limit)
        self.pressure = Pressure(pool.loop, self.budget)
        self.free_buffer = min(FREE, settings.buffer_response)
        introduction = ClientIdentity(settings)
        self.introduce = introduction if introduction.needed else None
        self.introduce_tls = ClientIdentity(settings, "https") if introduction.needed else None
        self.fence: Fence | None = None
        """Set for a pod that refuses requests of an earlier active (--fencing)."""
        self._connected: set[Client] = set()
        self._set_deadlines(pool.loop, settings)

    def why_refused(self, head: RequestHead) -> tuple[str, str] | None:
        """Return the reason (for the metric) and a sentence if a request is to be refused at once, otherwise None."""
        if self.pool.refusing:
            return "shutdown", SHUTTING_DOWN
        if self.fence is not None and self.fence.check_in(head, self.pool.loop.time()):
            return "older_epoch", OLDER_EPOCH
        return None

    def _set_deadlines(self, loop: asyncio.AbstractEventLoop, settings: ProxySettings) -> None:
        rated = (settings.client_timeout or RATE_SECONDS) if settings.min_rate else 0.0
        self.least_moved = max(int(settings.min_rate * rated), 1)
        """Bytes that a client must have sent or read since the last check, when its rate is checked."""
        patience = settings.client_timeout or rated

        def silence(seconds: float, over: Callable[[Any], None]) -> Timeouts[Any]:
            return Timeouts(loop, seconds, over, self.pool.pauses.since)

        # Each of these holds the deadlines of one kind of inactivity.
        self.idle: Timeouts[Client] = silence(settings.keep_alive, lambda client: client.idle_too_long())
        self.heads: Timeouts[Client] = silence(patience, lambda client: client.check_head())
        self.bodies: Timeouts[Client] = silence(settings.client_timeout, lambda client: client.too_slow())
        self.senders: Timeouts[Client] = silence(rated, lambda client: client.check_sender())
        self.memory: Timeouts[Client] = silence(settings.queue_timeout, lambda client: client.no_memory())
        self.readers: Timeouts[Any] = silence(patience, lambda client: client.check_reader())
        self.lingering: Timeouts[Client] = silence(LINGER_SECONDS, lambda client: client.stop_lingering())
        self.parting: Timeouts[Client] = silence(PARTING_SECONDS, lambda client: client.close_if_idle())
        self.hurried: Timeouts[Client] = silence(DRAIN_SECONDS, lambda client: client.check_hurried())
        self.least_while_draining = max(int(settings.min_rate * DRAIN_SECONDS), 1)
        self.cut_while_draining = 0
        """Clients whose request was ended during the shutdown, because they neither sent nor read."""
        self.timeouts = (
            self.idle, self.heads, self.bodies, self.senders, self.memory, self.readers, self.lingering, self.parting,
            self.hurried,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._connected)

    def __iter__(self) -> Iterator[Client]:
        return iter(self._connected)

    def __contains__(self, client: object) -> bool:
        return client in self._connected

    def came(self, client: Client) -> bool:
        """Add a client that has connected. False: the limit of clients is reached, and none of them is idle."""
        self._connected.add(client)
        full = len(self._connected) + len(self.tunnels) - self.turned_away > self.limit
        if full and not self._close_idlest(client):
            return False
        if self.pool.draining:
            client.hurry()
        else:
            self.idle.touch(client)
        if len(self._connected) > self.pool.descriptors.unproblematic:
            self._make_room(client)
        return True

    def has_room(self, opening: int) -> bool:
        """Whether another client may be accepted. `opening` counts connections that are accepted but not added yet."""
        if self.pool.descriptors.has_room(self._connections + opening):
            return True
        self.pool.descriptors.note("client")
        return False

    @property
    def _connections(self) -> int:
        """The number of file descriptors that clients use."""
        return len(self._connected) + 2 * len(self.tunnels)

    def gone(self, client: Client) -> None:
        """Remove a client that has disconnected, or whose connection has become a tunnel."""
        self._connected.discard(client)
        for timeouts in self.timeouts:
            timeouts.discard(client)

    @property
    def awaited(self) -> Timeouts[Client]:
        """The deadlines of clients without a request in progress."""
        return self.parting if self.pool.draining else self.idle

    def _make_room(self, newcomer: Client) -> None:
        """If few descriptors are left, close the client that has been idle for the longest time."""
        if self.pool.descriptors.too_many(self._connections):
            self.pool.descriptors.note("client")
            self._close_idlest(newcomer)

    def _close_idlest(self, newcomer: Client) -> bool:
        """Close the client that has been idle for the longest time, for `newcomer`. False if none is idle."""
        candidates = islice(self.idle.oldest(), CANDIDATES)
        idle = next((client for client in candidates if client is not newcomer and client.vacant), None)
        if idle is not None:
            idle.close()
        return idle is not None

    def part(self) -> None:
        """Begin the shutdown: a client without a request gets PARTING_SECONDS for a request that is on its way."""
        for client in list(self._connected):
            self.idle.discard(client)
            client.hurry()

    def worker_exited(self, worker: Upstream) -> None:
        """End the WebSockets of `worker`, whose process has exited."""
        for tunnel in [tunnel for tunnel in self.tunnels if tunnel.backend is worker]:
            tunnel.worker_gone()

    def close(self) -> None:
        """Reset all connections and tunnels, and cancel all timers."""
        for client in list(self._connected):
            client.cut()
        for tunnel in list(self.tunnels):
            tunnel.abort()
        for timeouts in self.timeouts:
            timeouts.close()
        self.pressure.close()
        self.trimmer.close()
