"""Who is connected, how long each of them may take for what it does, and what all together may use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol

from faucet import machine
from faucet.proxy.budget import FREE, Budget
from faucet.proxy.client_identity import ClientIdentity
from faucet.proxy.deadlines import DRAIN_SECONDS, RATE_SECONDS, Timeouts
from faucet.proxy.holders import Upstream
from faucet.proxy.pool import Pool
from faucet.proxy.pressure import Pressure
from faucet.proxy.spool import SpoolSpace, directory_on_disk
from faucet.proxy.trim import Trimmer, system_trim
from faucet.proxy.tunnel import Tunnel
from faucet.settings import ProxySettings

LINGER_SECONDS = 1.0
"""How long a refused client may go on sending before its connection is closed (RFC 9112, 9.6)."""

PARTING_SECONDS = 0.25
"""How long a connection without a request is kept when the service ends. A busy client's next request may be on its
way already, and nothing in our last answer told it not to send one."""

CANDIDATES = 200
"""Connections that are looked at to find an idle one."""


class Client(Protocol):
    """A client's connection, as far as its deadlines are concerned."""

    transport: asyncio.Transport

    @property
    def vacant(self) -> bool:
        """It can be closed at any time."""

    @property
    def waits(self) -> bool:
        """It is owed an answer, or the rest of one."""

    def turn_away(self, detail: str) -> None:
        """Answer with 503 whatever it was going to ask."""

    def hurry(self) -> None:
        """The service ends: see to it that what has begun goes on."""

    def check_hurried(self) -> None:
        """The service has been ending for a while."""

    def refuse(self, status: int, detail: str) -> None:
        """Answer the request in hand, if there is one, with an error."""

    def cut(self) -> None:
        """Reset it."""

    def idle_too_long(self) -> None:
        """No request came for a while."""

    def check_head(self) -> None:
        """A head was begun a while ago."""

    def too_slow(self) -> None:
        """A body did not go on in time."""

    def check_sender(self) -> None:
        """It has been sending a body for a while."""

    def no_memory(self) -> None:
        """Its body has waited for memory long enough."""

    def check_reader(self) -> None:
        """It had bytes to read a while ago."""

    def stop_lingering(self) -> None:
        """It had its moment."""

    def close_if_idle(self) -> None:
        """Close, if nothing has begun."""

    def __hash__(self) -> int: ...


class Clients:
    """The clients of one service, and the WebSockets that some of them have become."""

    def __init__(self, settings: ProxySettings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.tunnels: set[Tunnel] = set()
        self.on_gone: Callable[[], None] = lambda: None
        """Called when a client has gone."""
        self.turned_away = 0
        """Clients beyond the limit, which are being told so."""
        self.limit = settings.max_clients or machine.max_clients()
        self.trimmer = Trimmer(pool.loop, system_trim(), lambda: bool(pool.dispatcher.locked))
        total = settings.buffer_total or machine.buffer_total(machine.memory())
        self.budget = Budget(total, self.trimmer.note)
        self.space = SpoolSpace(directory_on_disk(settings.spool_dir), settings.spool_limit)
        self.pressure = Pressure(pool.loop, self.budget)
        self.free_buffer = min(FREE, settings.buffer_response)
        introduction = ClientIdentity(settings)
        self.introduce = introduction if introduction.needed else None
        self._connected: set[Client] = set()
        self._set_deadlines(pool.loop, settings)

    def _set_deadlines(self, loop: asyncio.AbstractEventLoop, settings: ProxySettings) -> None:
        rated = (settings.client_timeout or RATE_SECONDS) if settings.min_rate else 0.0
        self.least_moved = max(int(settings.min_rate * rated), 1)
        """Bytes that a client must have moved when one of its deadlines comes."""
        patience = settings.client_timeout or rated

        def silence(seconds: float, over: Callable[[Any], None]) -> Timeouts[Any]:
            return Timeouts(loop, seconds, over, self.pool.pauses.since)

        # Each of these lists is for one kind of silence.
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
        """Clients whose request in hand was given up, since they did not send or read."""
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
        """A client has connected. False: there are as many as may be, and none is idle."""
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
        """Whether another client may be accepted. `opening` ones have not come yet."""
        if self.pool.descriptors.has_room(self._connections + opening):
            return True
        self.pool.descriptors.note("client")
        return False

    @property
    def _connections(self) -> int:
        """Descriptors that clients take."""
        return len(self._connected) + 2 * len(self.tunnels)

    def gone(self, client: Client) -> None:
        """A client has gone, or has become a tunnel."""
        self._connected.discard(client)
        for timeouts in self.timeouts:
            timeouts.discard(client)

    @property
    def awaited(self) -> Timeouts[Client]:
        """The deadlines of those that have no request in hand."""
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
            idle.transport.abort()
        return idle is not None

    def part(self) -> None:
        """The service ends: whoever has no request in hand has a moment for one that is on its way."""
        for client in list(self._connected):
            self.idle.discard(client)
            client.hurry()

    def worker_exited(self, worker: Upstream) -> None:
        """Its process is gone: end the WebSockets that it had."""
        for tunnel in [tunnel for tunnel in self.tunnels if tunnel.backend is worker]:
            tunnel.worker_gone()

    def close(self) -> None:
        """Cut what is still connected, and set no more timers."""
        for client in list(self._connected):
            client.cut()
        for tunnel in list(self.tunnels):
            tunnel.abort()
        for timeouts in self.timeouts:
            timeouts.close()
        self.pressure.close()
        self.trimmer.close()
