"""An active and a relay as two proxies in this process, with a real link between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faucet.ha.door import Door
from faucet.ha.lanes import GREETING, Lanes
from faucet.ha.relayed import RelayedConnection
from tests.support.scripted import Stage, tls_of_localhost

TOKEN = "secret"


class Pair:
    """`active` has the workers; what clients of `relay` send goes there by `lanes`."""

    def __init__(self, active: Stage, relay: Stage) -> None:
        self.active, self.relay = active, relay
        self.epoch = 1
        self.connections: list[RelayedConnection] = []
        self.lanes: Lanes
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen at the active, and open the lanes."""
        loop = asyncio.get_running_loop()
        kinds = {GREETING: self._relayed}
        self._server = await loop.create_server(lambda: Door(TOKEN, asyncio.Protocol, kinds, set()), "127.0.0.1", 0)
        self.lanes = self.new_lanes(self.epoch)
        self.lanes.open()

    @property
    def port(self) -> int:
        """Where the active listens for members."""
        return int(self._server.sockets[0].getsockname()[1])

    def new_lanes(self, epoch: int, token: str = TOKEN) -> Lanes:
        """Lanes to the active."""
        return Lanes(self.relay.proxy.pool, "active", "127.0.0.1", self.port, token, epoch, 2.0)

    def _relayed(self) -> RelayedConnection:
        proxy = self.active.proxy
        connection = RelayedConnection(proxy.pool, proxy.clients, lambda: self.epoch)
        self.connections.append(connection)
        return connection

    def resign(self) -> None:
        """The active is it no more: what is queued there goes back."""
        self.epoch = 0
        give_back_queued(self.active)

    async def close(self) -> None:
        """End the link."""
        self.lanes.cut()
        self._server.close()
        async with asyncio.timeout(5):
            while any(isinstance(client, RelayedConnection) for client in self.active.proxy.clients):
                await asyncio.sleep(0.005)


def give_back_queued(stage: Stage) -> None:
    """As a Faucet does that is the active no more."""
    for holder, _ in list(stage.proxy.pool.dispatcher.queue()):
        client = getattr(holder, "client", None)
        if isinstance(client, RelayedConnection):
            client.give_back()


@asynccontextmanager
async def pair(workers: int = 1, tls: bool = False, **settings: object) -> AsyncIterator[Pair]:
    """An active with so many workers and a relay; both have these settings. `tls`: their clients speak TLS."""
    active, relay = Stage(**settings), Stage(**settings)
    if tls:
        active.tls = relay.tls = tls_of_localhost()
    await active.open(workers)
    await relay.open(0)
    both = Pair(active, relay)
    await both.open()
    try:
        yield both
    finally:
        await both.close()
        await relay.close()
        await active.close()
