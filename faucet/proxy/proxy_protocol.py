"""A client connection through a load balancer that sends a PROXY header with the client's address first."""

from __future__ import annotations

import logging

from faucet.net.proxy_header import ProxyHeaderError, ProxyHeaderReader
from faucet.proxy.clients import Clients
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.pool import Pool

_log = logging.getLogger("faucet")


class ProxiedClientConnection(ClientConnection):
    """A connection that begins with a PROXY header. Without a valid header it is closed, not answered."""

    __slots__ = ("_header",)

    def __init__(self, pool: Pool, clients: Clients) -> None:
        super().__init__(pool, clients)
        self._header: ProxyHeaderReader | None = ProxyHeaderReader()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._header is None:
            super().data_received(data)
            return
        try:
            read = self._header.feed(data)
        except ProxyHeaderError as error:
            _log.warning("a connection from %s is closed: %s", self.peer, error)
            self.transport.abort()
            return
        if read is None:
            if self not in self.clients.heads:  # the whole header has one deadline
                self.clients.idle.discard(self)
                self.clients.heads.touch(self)
            return
        self._header = None
        self.clients.heads.discard(self)
        self._await_request()
        peer, rest = read
        if peer is not None:
            self.peer = peer.host
        if rest:
            super().data_received(rest)

    def check_head(self) -> None:
        """See ClientConnection. An incomplete PROXY header is not given more time: close the connection."""
        if self._header is not None:
            self.transport.abort()
        else:
            super().check_head()

    def turn_away(self, detail: str) -> None:
        """See ClientConnection. The client's address is not known yet, so close without a response."""
        self.transport.abort()

    def too_slow(self) -> None:
        """See ClientConnection. If the PROXY header is missing, close without a response."""
        if self._header is not None:
            self.transport.abort()
        else:
            super().too_slow()
