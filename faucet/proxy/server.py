"""The proxy as a whole: the locks and the clients, and how both come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faucet import pauses
from faucet.proxy.clients import Clients
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.pool import Pool
from faucet.proxy.proxy_protocol import ProxiedClientConnection
from faucet.proxy.stats import Record, Stats
from faucet.settings import ProxySettings

GOES_ON_SECONDS = 5.0
"""How long a client may go on with a connection that it keeps, while another Faucet serves what it asks."""


class Proxy:
    """One proxy in front of any number of workers. All methods must be called from the loop's thread.

    `record` is called with a Record for each exchange that has ended.
    """

    def __init__(self, settings: ProxySettings, record: Callable[[Record], None]) -> None:
        self.settings = settings
        self.pool = Pool(settings, record)
        self.clients = Clients(settings, self.pool)
        self._drained = asyncio.Event()
        self.pool.on_idle = self.clients.on_gone = self._check_drained
        self._connection = ProxiedClientConnection if settings.proxy_protocol else ClientConnection

    def accept(self) -> ClientConnection:
        """The protocol of a connection that a client has opened."""
        return self._connection(self.pool, self.clients)

    @property
    def stats(self) -> Stats:
        """The numbers, up to date."""
        return self.pool.stats

    async def drain(self, seconds: float, others_go_on: bool = False) -> bool:
        """Finish what is in hand and answer all else with 503; whether `seconds` were enough for that.

        If `others_go_on`, what still comes can be served for a while. It is, if it comes within GOES_ON_SECONDS.
        """
        self.pool.drain()
        if others_go_on:
            self.pool.loop.call_later(min(GOES_ON_SECONDS, seconds / 2), self._refuse_all)
        else:
            self.pool.refuse_all()
        self.clients.part()
        self._check_drained()
        try:
            async with pauses.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    def _refuse_all(self) -> None:
        self.pool.refuse_all()
        self._check_drained()

    def _check_drained(self) -> None:
        """Whoever waits for the last exchange is woken after it."""
        if self.pool.draining and not self.pool.dispatcher.locked and not self.clients:
            self._drained.set()

    def abandon(self, detail: str) -> int:
        """End what is in hand now. Returns how many clients had not got, or not read, their answer."""
        self.pool.given_up = True
        waiting = [client for client in self.clients if client.waits]
        for lease in self.pool.dispatcher.leases():
            lease.holder.abandon(detail)
        for client in waiting:
            client.refuse(503, detail)  # those whose request was still arriving
        return len(waiting)

    def close(self) -> None:
        """Cut what is still connected, and set no more timers."""
        self.clients.close()
        self.pool.close()
