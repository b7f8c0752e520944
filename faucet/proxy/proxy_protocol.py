"""A client connection behind a proxy that speaks the PROXY protocol: who the client is comes first."""

from __future__ import annotations

import logging

from faucet.net.proxy_header import ProxyHeaderError, ProxyHeaderReader
from faucet.proxy.clients import Clients
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.pool import Pool

_log = logging.getLogger("faucet")


class ProxiedClientConnection(ClientConnection):
    """Nothing is answered before the header is there: whoever sends another thing is not the proxy."""

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
            if self not in self.clients.heads:  # the whole header has one deadline, however it drips
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
        """See ClientConnection. A PROXY header is short: it has one deadline in any case."""
        if self._header is not None:
            self.transport.abort()
        else:
            super().check_head()

    def turn_away(self, detail: str) -> None:
        """See ClientConnection. Who it is is not known yet, so it gets no answer."""
        self.transport.abort()

    def too_slow(self) -> None:
        """See ClientConnection. A header that does not come is answered with nothing."""
        if self._header is not None:
            self.transport.abort()
        else:
            super().too_slow()
