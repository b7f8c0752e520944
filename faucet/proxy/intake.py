"""The body of a request, between its client and its worker."""

from __future__ import annotations

from faucet.http1 import Body
from faucet.proxy.budget import FREE, Budget
from faucet.proxy.sides import Downstream, UpstreamConnection
from faucet.proxy.spool import Spool, SpoolSpace


class Intake:
    """Buffers the body until its request has a worker: up to `limit` bytes in memory, a longer body in a temporary
    file. A body for which there is no room is streamed, at the speed of the slower side.

    More than FREE bytes are reserved from the budget, all at once, so that a body with a reservation never waits again.
    """

    __slots__ = (
        "_body", "_budget", "_client", "_connection", "_held", "_held_sent", "_in_hand", "_limit", "_reserved",
        "_space", "_spool", "streaming",
    )  # fmt: skip

    def __init__(self, body: Body, budget: Budget, space: SpoolSpace, limit: int, client: Downstream) -> None:
        self._body = body
        self._budget = budget
        self._space = space
        self._limit = limit
        self._client: Downstream | None = client
        self._connection: UpstreamConnection | None = None
        self._in_hand = False  # enough of the body has arrived to ask for a worker
        self._reserved = 0  # bytes reserved from the budget; negative: waiting for them
        self._held = bytearray()
        self._held_sent = False  # `_held` was sent, where it follows the bytes in the file
        self._spool: Spool | None = None
        self.streaming = False
        """There is no room for the whole body: the rest is streamed, and the request cannot be sent again."""

    @property
    def done(self) -> bool:
        """Whether the whole body has arrived."""
        return self._body.done

    # -- it arrives --------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> int:
        """Take bytes. Return the index behind the last byte of this body. Raises FramingError."""
        end = self._body.feed(data)
        part = data[:end]
        if self._connection is not None and not self.pending:
            self._connection.write(part)
        elif self._spool is None or self.streaming or not self._spool.append(part):
            self._held += part
        return end

    def arrived(self, length: int | None) -> bool:
        """After `take`: let the client send more, as far as there is room. `length` is the Content-Length, if known.

        Returns True once: when the request is ready to be sent."""
        client = self._client
        if client is None:
            return False
        if self.done:
            client.owes_nothing()
            return self._becomes_in_hand()
        if not self._in_hand:
            return self._make_room(client, length)
        if self._connection is not None:  # else the body waits for a worker
            if self._connection.write_paused:
                self.worker_paused()
            else:
                client.owes_body()
        return False

    def _make_room(self, client: Downstream, length: int | None) -> bool:
        if not self._has_room():
            self.streaming = True
            client.owes_nothing()
            client.pause_reading()
            return self._becomes_in_hand()
        if not self._waits:
            if self._reserve(length):
                client.owes_body()
            else:
                client.awaits_memory()
        return False

    def _becomes_in_hand(self) -> bool:
        if self._in_hand:
            return False
        self._in_hand = True
        self._hold_no_more()
        return True

    @property
    def wants_more(self) -> bool:
        """Whether more of the body may be read from the client: there is room, or the worker accepts it."""
        if not self._in_hand:
            return not self.done and not self._waits
        return self._connection is not None and not self._connection.write_paused and not self.done

    def _has_room(self) -> bool:
        if self._spool is not None:
            return not self._held  # held bytes: the file had no room for them
        return len(self._held) <= self._limit or self._spill()

    def _spill(self) -> bool:
        """Move the held bytes to a temporary file, and append later bytes to it. False if there is no room."""
        spool = self._space.open()
        if spool is None:
            return False
        if not spool.append(bytes(self._held)):
            spool.close()
            return False
        self._spool = spool
        self._held.clear()
        self._hold_no_more()
        return True

    # -- memory ------------------------------------------------------------------------------------------------

    @property
    def _waits(self) -> bool:
        """Whether the body waits for memory, and the client may not send more until then."""
        return self._reserved < 0

    def _reserve(self, length: int | None) -> bool:
        """Reserve memory for the whole body, if it is longer than FREE. False: the body has to wait."""
        if self._reserved or len(self._held) <= FREE or self._spool is not None:
            return True
        size = max(min(self._limit, length or self._limit), len(self._held))
        granted = self._budget.reserve(self, size)
        self._reserved = min(size, self._budget.total) if granted else -1
        return granted

    def memory_granted(self, size: int) -> None:
        """Called by the budget: `size` bytes are reserved, so the client may send more."""
        self._reserved = size
        if self._client is not None:
            self._client.owes_nothing()
            self._client.owes_body()
            self._client.resume_reading()

    def _hold_no_more(self) -> None:
        """Reduce the reservation to the bytes held now: no more will be held in memory."""
        if self._reserved:
            self._settle(len(self._held))

    def _settle(self, size: int) -> None:
        """Set the reservation to `size` bytes, whatever was reserved or waited for before."""
        had, self._reserved = self._reserved, size
        if had < 0:
            self._budget.stop_waiting(self, size)
        else:
            self._budget.charge(size - had)

    # -- it is sent --------------------------------------------------------------------------------------------

    def begin(self, connection: UpstreamConnection) -> bytes:
        """Start sending to a worker, for the first or second time. Return the bytes to send with the head.

        `go_on` sends the rest.
        """
        self._connection = connection
        if self._spool is None:
            return bytes(self._held)
        self._spool.rewind()
        self._held_sent = False
        return b""

    def go_on(self) -> None:
        """The worker accepts more: send the buffered bytes, and let the client send more."""
        connection = self._connection
        if connection is None or not (self.streaming or self.pending):
            return
        self._send(connection)
        if self.pending or connection.write_paused:
            return
        if self.streaming:
            self.drop()
        if self._client is not None and not self.done:
            self._client.owes_body()
            self._client.resume_reading()

    def _send(self, connection: UpstreamConnection) -> None:
        while self._spool is not None and not connection.write_paused and not connection.transport.is_closing():
            part = self._spool.read()
            if not part:
                break
            connection.write(part)
        if self._spool is not None and not self._spool.size and self._held and not self._held_sent:
            connection.write(bytes(self._held))
            self._held_sent = True

    @property
    def pending(self) -> bool:
        """Whether bytes in the file, or held behind it, have not been sent yet. Later bytes have to wait for them."""
        return self._spool is not None and (self._spool.size > 0 or (bool(self._held) and not self._held_sent))

    def worker_paused(self) -> None:
        """The worker accepts the body more slowly than it arrives: stop reading from the client."""
        if self._client is not None and not self.done:
            self._client.owes_nothing()
            self._client.pause_reading()

    # -- the end -----------------------------------------------------------------------------------------------

    def worker_gone(self) -> None:
        """Stop sending the body to the worker."""
        self._connection = None

    def client_gone(self) -> None:
        """The client has disconnected: no more of the body will arrive."""
        self._client = None

    def drop(self) -> None:
        """Discard the buffered bytes, and return their memory and file."""
        self._held.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._reserved:
            self._settle(0)
