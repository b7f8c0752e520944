"""The body of a request on its way from its client to its worker."""

from __future__ import annotations

from faucet.http1 import Body
from faucet.proxy.budget import FREE, Budget
from faucet.proxy.sides import Downstream, UpstreamConnection
from faucet.proxy.spool import Spool, SpoolSpace


class Intake:
    """Keeps the body until its request is in hand and has a worker: up to `limit` bytes in memory, all of a longer one
    in a temporary file. What there is no room for is streamed, as slowly as the slower side wants it.

    What is more than a little is taken from the budget, all at once, so that a body which has got its part never waits
    again.
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
        self._in_hand = False  # so much of it is here that a worker may be asked for
        self._reserved = 0  # bytes of the budget; negative: it waits for them
        self._held = bytearray()
        self._held_sent = False  # what did not fit into the file, behind what did
        self._spool: Spool | None = None
        self.streaming = False
        """There is no room for all of the body: the rest passes through, and it cannot be sent again."""

    @property
    def done(self) -> bool:
        """All of it has arrived."""
        return self._body.done

    # -- it arrives --------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> int:
        """Take bytes; the index behind the last that belongs to this body. Raises FramingError."""
        end = self._body.feed(data)
        part = data[:end]
        if self._connection is not None and not self.pending:
            self._connection.write(part)
        elif self._spool is None or self.streaming or not self._spool.append(part):
            self._held += part
        return end

    def arrived(self, length: int | None) -> bool:
        """After `take`: let the rest come, of `length` bytes in all, as far as there is room. True, once: the request
        is in hand."""
        client = self._client
        if client is None:
            return False
        if self.done:
            client.owes_nothing()
            return self._becomes_in_hand()
        if not self._in_hand:
            return self._make_room(client, length)
        if self._connection is not None:  # else nobody waits for the client: what it sent waits for a worker
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
        """More of it may be read from the client: there is room, or the worker takes it."""
        if not self._in_hand:
            return not self.done and not self._waits
        return self._connection is not None and not self._connection.write_paused and not self.done

    def _has_room(self) -> bool:
        if self._spool is not None:
            return not self._held  # or else there was no room in the file
        return len(self._held) <= self._limit or self._spill()

    def _spill(self) -> bool:
        """Put what is held into a file, to go on there."""
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
        """It waits for memory, and takes no more until then."""
        return self._reserved < 0

    def _reserve(self, length: int | None) -> bool:
        """Take memory for all that may come, if that is much. False: it has to wait."""
        if self._reserved or len(self._held) <= FREE or self._spool is not None:
            return True
        size = max(min(self._limit, length or self._limit), len(self._held))
        granted = self._budget.reserve(self, size)
        self._reserved = min(size, self._budget.total) if granted else -1
        return granted

    def memory_granted(self, size: int) -> None:
        """It has waited for memory, and has it now: the rest may come."""
        self._reserved = size
        if self._client is not None:
            self._client.owes_nothing()
            self._client.owes_body()
            self._client.resume_reading()

    def _hold_no_more(self) -> None:
        """No more will be held in memory than is there now."""
        if self._reserved:
            self._settle(len(self._held))

    def _settle(self, size: int) -> None:
        """Of the budget it has `size` bytes from now on, whatever it had or waited for."""
        had, self._reserved = self._reserved, size
        if had < 0:
            self._budget.stop_waiting(self, size)
        else:
            self._budget.charge(size - had)

    # -- it is sent --------------------------------------------------------------------------------------------

    def begin(self, connection: UpstreamConnection) -> bytes:
        """It goes to that worker, once or once more: what has to be sent with the head. `go_on` sends the rest."""
        self._connection = connection
        if self._spool is None:
            return bytes(self._held)
        self._spool.rewind()
        self._held_sent = False
        return b""

    def go_on(self) -> None:
        """The worker takes more: send what is here, and let more come."""
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
        """Some of what is in the file, or behind it, was not sent yet; what comes now has to wait."""
        return self._spool is not None and (self._spool.size > 0 or (bool(self._held) and not self._held_sent))

    def worker_paused(self) -> None:
        """The worker does not take it as fast as it comes."""
        if self._client is not None and not self.done:
            self._client.owes_nothing()
            self._client.pause_reading()

    # -- the end -----------------------------------------------------------------------------------------------

    def worker_gone(self) -> None:
        """It is not sent to that worker any more."""
        self._connection = None

    def client_gone(self) -> None:
        """No more of it will come."""
        self._client = None

    def drop(self) -> None:
        """What is held is not needed any more."""
        self._held.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._reserved:
            self._settle(0)
