"""A relay's side of the request link: the active as backends of the relay's own proxy.

The proxy core knows one lock for each backend, and one request at a time. An active takes many, so it is a set of
*lanes* here: backends with the same address, each with one connection, and one more whenever all of them are in use.
The active itself handles failures of workers. Requests that the active has not begun come back to the relay.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from faucet import tasks
from faucet.ha.preface import AnswerLineReader, PrefaceError, RequestLine
from faucet.http1 import IDEMPOTENT
from faucet.net.connect import NotBegun, ProtocolFactory, connect_remote, why_not
from faucet.net.descriptors import is_shortage
from faucet.proxy.failures import Loss
from faucet.proxy.upstream import Backend, BackendConnection

if TYPE_CHECKING:
    from faucet.proxy.exchange import Exchange
    from faucet.proxy.pool import Pool

GREETING = b"faucet-relay/1 "
"""The start of a connection's first line. The token of the Lease follows."""

AGAIN = 0.5
"""Seconds before the next attempt after the active accepted no connection."""

TRIM_EVERY = 10.0
"""Seconds between two checks of how many lanes are needed."""

NO_ID = "-"
"""Placeholder for the id of a request without an id."""


class Lane(Backend):
    """One backend for the active, for one request at a time."""

    queues = True

    def __init__(self, lanes: Lanes) -> None:
        super().__init__(lanes.name, lanes.host, lanes.port, lanes.connect, lanes.timeout)
        self.lanes = lanes
        self.on_unreachable = lambda _: lanes.pause()

    def begin(self, exchange: Exchange) -> None:
        """See Backend. If this was the last free lane, another one is added."""
        self.lanes.taken()
        super().begin(exchange)

    def _new_connection(self) -> LaneConnection:
        return LaneConnection(self)


class LaneConnection(BackendConnection):
    """The connection of a lane, with a line before each request and before each response."""

    __slots__ = ("_ahead", "_answer", "_lane")

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        self._lane = lane
        self._ahead = GREETING + lane.lanes.token.encode() + b"\n"  # bytes to write before the next data
        self._answer: AnswerLineReader | None = None

    def send(self, exchange: Exchange) -> None:
        """See BackendConnection."""
        if exchange.client is not None:
            self._ahead += line_for(exchange, self._lane.lanes.epoch)
            self._answer = AnswerLineReader()
        super().send(exchange)
        if exchange.client is not None and exchange.client.half_closed:
            self.end_request()  # see Exchange.client_half_closed

    def write(self, data: bytes) -> None:
        """See BackendConnection. The preceding bytes are sent together with the data, in one packet."""
        if self._ahead:
            data, self._ahead = self._ahead + data, b""
        super().write(data)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._answer is not None and self.exchange is not None:
            try:
                taken = self._answer.feed(data)
            except PrefaceError:
                self.transport.abort()  # the peer is not a Faucet
                return
            if taken is None:
                return
            self._answer = None
            line, data = taken
            if not line.begun:
                self._not_begun(self.exchange)
                return
            if not data:
                return
        super().data_received(data)

    def _not_begun(self, exchange: Exchange) -> None:
        self.close()
        self._lane.lanes.pause()
        exchange.not_begun(self._lane, NotBegun("The Faucet that had this request is not the active any more."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop. The lane ends with it: its lock says nothing about a pod."""
        if self.exchange is not None:
            self._lane.lanes.pause()  # the others are lost as well, perhaps, and that is known a moment later
        if self._lane.connection is self:
            self._lane.lanes.lost(self._lane)
        super().connection_lost(exc)

    def _loss(self, exchange: Exchange, exc: Exception | None) -> Loss:
        """Return the loss, marked as a lost link: the active may or may not have sent the request to a pod."""
        return super()._loss(exchange, exc)._replace(link=True)


def line_for(exchange: Exchange, epoch: int) -> bytes:
    """Return the line before a request."""
    account = exchange.account
    waited = max(monotonic() - account.waiting_since, 0.0)
    try:
        return RequestLine(epoch, account.request_id or NO_ID, waited, account.client).encode()
    except ValueError:  # an address or an id that does not fit must not make the request fail
        return RequestLine(epoch, NO_ID, waited, "unknown").encode()


class Lanes:
    """The lanes to one active in one epoch. Closed until `open`."""

    def __init__(self, pool: Pool, name: str, host: str, port: int, token: str, epoch: int, timeout: float) -> None:
        self.name, self.host, self.port, self.token, self.epoch = name, host, port, token, epoch
        self.timeout = timeout
        self.relayed = 0
        """Number of requests handed to the active."""
        self._pool = pool
        self._lanes: set[Lane] = set()
        self._open = False
        self._ended = False
        self._most = 0  # most lanes in use at the same time since the last check
        self._again: asyncio.TimerHandle | None = None
        self._trim_timer = pool.loop.call_later(TRIM_EVERY, self._trim)

    async def connect(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """See Connector. Raises NotBegun if the active cannot be reached, since the request was not sent then."""
        try:
            return await connect_remote(protocol_factory, host, port, timeout)
        except OSError as error:
            if is_shortage(error):
                raise
            raise NotBegun(f"The active Faucet at {host}:{port} cannot be reached: {why_not(error)}.") from error

    @property
    def in_use(self) -> int:
        """Number of lanes with a request."""
        return sum(self._pool.dispatcher.lease(lane) is not None for lane in self._lanes)

    # -- open and closed ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Send requests to the active from now on. Queued requests are sent in the order of their arrival."""
        if self._open or self._ended:
            return
        self._open = True
        self._pool.reorder()
        for lane in list(self._lanes):
            self._pool.resume(lane)
        self._ensure_free()

    def close(self) -> None:
        """Send no more requests to the active. Requests in progress stay there."""
        self._open = False
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for lane in self._lanes:
            self._pool.hold(lane)

    def pause(self) -> None:
        """Close the lanes for AGAIN seconds, because the active currently accepts no requests."""
        if self._open:
            self.close()
            self._again = self._pool.loop.call_later(AGAIN, self.open)

    def end(self) -> None:
        """Close the lanes permanently: the member is no longer the active. It finishes its requests in progress."""
        self.close()
        self._ended = True
        self._trim_timer.cancel()
        for lane in list(self._lanes):
            if self._pool.dispatcher.lease(lane) is None:
                self.lost(lane)
                lane.close()
            else:
                tasks.start(self._retire(lane), f"end of a lane to {self.name}")

    async def _retire(self, lane: Lane) -> None:
        await self._pool.retire(lane)
        self._lanes.discard(lane)
        lane.close()

    def give_up(self) -> None:
        """Treat the active as dead: requests that may be retried go to its successor. The others keep waiting."""
        for lane in list(self._lanes):
            exchange = None if lane.connection is None else lane.connection.exchange
            if exchange is not None and exchange.head.method in IDEMPOTENT and not exchange.account.sent:
                lane.drop()

    def cut(self) -> None:
        """Close all connections immediately, because the service is stopping."""
        self.end()
        for lane in list(self._lanes):
            lane.drop()

    # -- how many ----------------------------------------------------------------------------------------------

    def taken(self) -> None:
        """Count a request that a lane has got, and make sure that another lane is free."""
        self.relayed += 1
        self._most = max(self._most, self._pool.dispatcher.locked)
        self._ensure_free()

    def lost(self, lane: Lane) -> None:
        """Remove a lane whose connection is lost."""
        self._lanes.discard(lane)
        self._pool.remove(lane)
        self._ensure_free()

    def _ensure_free(self) -> None:
        if self._open and not self._pool.dispatcher.free:
            lane = Lane(self)
            self._lanes.add(lane)
            self._pool.add(lane)

    def _trim(self) -> None:
        """Close lanes that were not needed recently."""
        self._trim_timer = self._pool.loop.call_later(TRIM_EVERY, self._trim)
        spare = len(self._lanes) - self._most - 1
        self._most = self._pool.dispatcher.locked
        free = [lane for lane in self._lanes if self._pool.dispatcher.lease(lane) is None]
        for lane in free[: max(spare, 0)]:
            self._lanes.discard(lane)
            self._pool.remove(lane)
            lane.close()
