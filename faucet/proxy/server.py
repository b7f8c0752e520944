"""The proxy as a whole: the pool of locks, the clients, and the shutdown of both."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from faucet import pauses
from faucet.proxy.clients import Clients
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.pool import Pool
from faucet.proxy.proxy_protocol import ProxiedClientConnection
from faucet.proxy.stats import Record, Stats
from faucet.proxy.tls_clients import HANDSHAKE_SECONDS, TlsClients
from faucet.settings import ProxySettings

GOES_ON_SECONDS = 5.0
"""Seconds for which a client may go on using its connection during a shutdown, while another Faucet takes over."""


class Proxy:
    """One proxy in front of any number of workers. All methods must be called from the loop's thread.

    `record` is called with a Record for each exchange that has ended.
    """

    def __init__(self, settings: ProxySettings, record: Callable[[Record], None]) -> None:
        self.settings = settings
        self.pool = Pool(settings, record)
        self.clients = Clients(settings, self.pool)
        self.tls: TlsClients | None = None
        """Clients that speak TLS; None before `serve_tls`."""
        self._drained = asyncio.Event()
        self.pool.on_idle = self.clients.on_gone = self._check_drained
        self._connection = ProxiedClientConnection if settings.proxy_protocol else ClientConnection

    def accept(self) -> ClientConnection:
        """Return the protocol for a connection that a client has opened."""
        return self._connection(self.pool, self.clients)

    def serve_tls(self, context: Callable[[], ssl.SSLContext], seconds: float = HANDSHAKE_SECONDS) -> TlsClients:
        """Get ready for clients that speak TLS, each with the settings that `context` returns for it.

        A handshake may take so many `seconds`.
        """
        self.tls = TlsClients(self.pool, self.clients, context, seconds)
        return self.tls

    @property
    def stats(self) -> Stats:
        """The statistics, up to date."""
        return self.pool.stats

    async def drain(self, seconds: float, others_go_on: bool = False) -> bool:
        """Finish the requests in progress, and answer others with 503. Return whether `seconds` were enough.

        If `others_go_on`, another Faucet takes over, and new requests are still served for GOES_ON_SECONDS, but not for
        more than half of `seconds`.
        """
        self.pool.drain()
        if others_go_on:
            self.pool.loop.call_later(min(GOES_ON_SECONDS, seconds / 2), self._refuse_all)
        else:
            self.pool.refuse_all()
        self.clients.part()
        if self.tls is not None:
            self.tls.hurry()
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
        """Wake `drain` if no lock is held, and no client is connected or in its TLS handshake."""
        # By its length: for mypyc an object that may be None is true whenever it is not.
        shaking = 0 if self.tls is None else len(self.tls)
        if self.pool.draining and not self.pool.dispatcher.locked and not self.clients and not shaking:
            self._drained.set()

    def abandon(self, detail: str) -> int:
        """End the requests in progress now. Return how many clients had not got or read their whole response."""
        self.pool.given_up = True
        waiting = [client for client in self.clients if client.waits]
        for lease in self.pool.dispatcher.leases():
            lease.holder.abandon(detail)
        for client in waiting:
            client.refuse(503, detail)  # requests that were still arriving
        return len(waiting)

    def close(self) -> None:
        """Reset all connections, and cancel all timers."""
        if self.tls is not None:
            self.tls.close()
        self.clients.close()
        self.pool.close()
