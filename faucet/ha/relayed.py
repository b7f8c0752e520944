"""The active's side of the request link: a connection on which a relay sends requests of its clients.

They enter the queue as if their clients were connected here. A request is accepted only if the relay addresses this
active in its current epoch. If not, or if the request is still queued when this Faucet stops being the active, the
relay is told that the request was *not begun*, and may send it elsewhere, whatever its method.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from faucet.ha.lanes import NO_ID
from faucet.ha.preface import AnswerLine, PrefaceError, RequestLine, RequestLineReader
from faucet.proxy.client_identity import Introduced
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.error_responses import CONTINUE
from faucet.proxy.record import CLIENT_CLOSED_REQUEST

if TYPE_CHECKING:
    from faucet.http1 import RequestHead
    from faucet.proxy.clients import Clients
    from faucet.proxy.pool import Pool

_log = logging.getLogger("faucet")

Epoch = Callable[[], int]
"""The epoch in which this Faucet takes requests now; 0: in none."""


class RelayedConnection(ClientConnection):
    """One connection of a relay, with one request at a time."""

    __slots__ = ("_ahead", "_epoch", "_line", "_lines")

    def __init__(self, pool: Pool, clients: Clients, epoch: Epoch) -> None:
        super().__init__(pool, clients)
        self._epoch = epoch
        self._introduce = self._as_the_relay_says
        self._line: RequestLine | None = None
        self._lines = RequestLineReader()
        self._ahead = AnswerLine(epoch(), begun=True).encode()  # to write before the response

    def _read_head(self, data: bytes) -> None:
        if self._line is None:
            try:
                taken = self._lines.feed(data)
            except PrefaceError as error:
                _log.warning("a connection from %s is closed: %s", self.peer, error)
                self.transport.abort()
                return
            if taken is None:
                return
            self._line, data = taken
            self.peer = self._line.client
            if self._line.epoch != self._epoch():
                self.give_back()
                return
            self._ahead = AnswerLine(self._line.epoch, begun=True).encode()
            if not data:
                return
        super()._read_head(data)

    def _as_the_relay_says(self, head: RequestHead, peer: str) -> Introduced:
        """The relay has introduced its client already."""
        assert self._line is not None
        assert self.exchange is not None
        self.exchange.account.waited = self._line.waited
        request_id = self._line.request_id
        return Introduced(head.raw, peer, "" if request_id == NO_ID else request_id)

    def write(self, data: bytes) -> None:
        """See Outflow. A line comes before the answer; to go on with its body, the relay has told its client itself."""
        if data is CONTINUE:
            return
        if self._ahead:
            data, self._ahead = self._ahead + data, b""
        super().write(data)

    def _next_request(self) -> None:
        self._line = None
        self._lines = RequestLineReader()
        super()._next_request()

    def give_back(self) -> None:
        """Tell the relay that the current request, if any, was not begun and will not be."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.account.settle(CLIENT_CLOSED_REQUEST, "given back")  # the relay reports the final outcome
            exchange.client_gone()
        self._ahead = b""
        super().write(AnswerLine(self._epoch(), begun=False).encode())
        self.linger()

    # -- the relay looks after its connections -----------------------------------------------------------------

    @property
    def vacant(self) -> bool:
        """See Client. Always False: if this end closed the connection, a request in transit could not be retried."""
        return False

    def idle_too_long(self) -> None:
        """See Client. Does nothing: the relay decides how long its connection may be idle."""

    def close_if_idle(self) -> None:
        """See Client. The service is stopping and no longer the active, so no request will follow."""
        if self.exchange is None:
            self.transport.abort()
