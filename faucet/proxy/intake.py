"""The part of a request's body that is in hand: not sent yet, or perhaps to be sent again."""

from __future__ import annotations

from collections.abc import Callable

from faucet.proxy.budget import FREE, Budget
from faucet.proxy.sides import UpstreamConnection
from faucet.proxy.spool import Spool, SpoolSpace


class Intake:
    """Up to `limit` bytes of one body in memory, or all of a longer one in a temporary file.

    What is more than a little is taken from the budget, all at once, so that a body which has got its part never waits
    again. `on_memory` is called when it has waited for that.
    """

    __slots__ = ("_budget", "_held", "_held_sent", "_limit", "_on_memory", "_reserved", "_space", "_spool", "streaming")

    def __init__(self, budget: Budget, space: SpoolSpace, limit: int, on_memory: Callable[[], None]) -> None:
        self._budget = budget
        self._space = space
        self._limit = limit
        self._on_memory = on_memory
        self._reserved = 0  # bytes of the budget; negative: it waits for them
        self._held = bytearray()
        self._held_sent = False  # what did not fit into the file, behind what did
        self._spool: Spool | None = None
        self.streaming = False
        """There is no room for all of the body: the rest passes through, and it cannot be sent again."""

    # -- it arrives --------------------------------------------------------------------------------------------

    def add(self, part: bytes) -> None:
        """Keep a part of the body."""
        if self._spool is None or self.streaming or not self._spool.append(part):
            self._held += part

    def has_room(self) -> bool:
        """Whether the next part can be kept as well. What is too long for the memory is put into a file."""
        if self._spool is not None:
            return not self._held  # or else there was no room in the file
        return len(self._held) <= self._limit or self._spill()

    def _spill(self) -> bool:
        spool = self._space.open()
        if spool is None:
            return False
        if not spool.append(bytes(self._held)):
            spool.close()
            return False
        self._spool = spool
        self._held.clear()
        self.complete()
        return True

    @property
    def waits(self) -> bool:
        """It waits for memory, and takes no more until then."""
        return self._reserved < 0

    def reserve(self, length: int | None) -> bool:
        """Take memory for all that may come of a body of `length`, if it is a long one. False: it has to wait."""
        if self._reserved or len(self._held) <= FREE:
            return not self.waits
        size = max(min(self._limit, length or self._limit), len(self._held))
        granted = self._budget.reserve(self, size)
        self._reserved = min(size, self._budget.total) if granted else -1
        return granted

    def memory_granted(self, size: int) -> None:
        """It has waited for memory, and has it now."""
        self._reserved = size
        self._on_memory()

    def complete(self) -> None:
        """No more will be held in memory than is there now."""
        if self._reserved:
            self._settle(len(self._held))

    # -- it is sent --------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Some of it is still to be sent by `send`; what comes now has to wait behind that."""
        return self._spool is not None and (self._spool.size > 0 or (bool(self._held) and not self._held_sent))

    def first_part(self) -> bytes:
        """What goes with the head; from here on all of it is sent, once or once more."""
        if self._spool is None:
            return bytes(self._held)
        self._spool.rewind()
        self._held_sent = False
        return b""

    def send(self, connection: UpstreamConnection) -> None:
        """Send what is in the file, as far as the worker takes it; again when it takes more."""
        while self._spool is not None and not connection.write_paused and not connection.transport.is_closing():
            part = self._spool.read()
            if not part:
                break
            connection.write(part)
        if self._spool is not None and not self._spool.size and self._held and not self._held_sent:
            connection.write(bytes(self._held))
            self._held_sent = True

    def drop(self) -> None:
        """What is held is not needed any more."""
        self._held.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._reserved:
            self._settle(0)

    def _settle(self, size: int) -> None:
        """Of the budget it has `size` bytes from now on, whatever it had or waited for."""
        had, self._reserved = self._reserved, size
        if had < 0:
            self._budget.stop_waiting(self, size)
        else:
            self._budget.charge(size - had)
