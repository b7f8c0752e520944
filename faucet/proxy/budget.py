"""The memory that all buffers together may take, and who waits for some of it.

Each client may have a little of its own (FREE), which is not counted: the number of clients bounds that. What is more
is counted where a buffer really grows, never once per request.

Nobody waits for this budget while holding what somebody else needs, so there is no deadlock:

* A request body waits for it before its request has a lock, and for all it may need at once. A body that has got its
  part never waits again; one that waits has nothing but its FREE bytes.
* A request that holds a lock takes no more for its body: that is all here, or streamed past the buffer. Its answer
  always has the FREE bytes of its client. So it ends as soon as its client reads, and a client that does not is ended.
* A client that reads too slowly while nothing is left is cut (pressure.py).
* Bodies come first, in their order: while one waits no answer grows beyond its FREE bytes, so what is used shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

FREE = 64 * 1024
"""Bytes of an answer, and of a body, that each client may have whatever the others have."""

WAKE_SHARE = 0.75
"""Share of the total below which answers may grow again: not with each byte that becomes free."""


class Waiting(Protocol):
    """A request's body that may have to wait."""

    def memory_granted(self, size: int) -> None:
        """It has so many bytes now."""


class Reader(Protocol):
    """A client whose answer may have to wait."""

    def may_grow(self) -> None:
        """There is room for more of it."""

    def taken(self) -> int:
        """Bytes that it has read."""

    def cut(self) -> None:
        """Reset its connection."""

    def __hash__(self) -> int: ...


class Held:
    """What one client holds of the budget."""

    __slots__ = ("since", "size", "taken")

    def __init__(self, size: int, taken: int) -> None:
        self.size = size
        self.since = monotonic()
        self.taken = taken
        """Bytes that the client had read by then."""


class Budget:
    """Counts bytes. All methods are O(1), but for those woken."""

    def __init__(self, total: int, note: Callable[[int], None]) -> None:
        """`note` is told how many bytes are in use, whenever that has changed."""
        self.total = total
        self._note = note
        self.on_strained: Callable[[], None] = lambda: None
        """Called when a body begins to wait, or an answer that has no other place."""
        self.used = 0
        self.bodies: dict[Waiting, int] = {}
        """Those that wait, and for how much; oldest first."""
        self.holders: dict[Reader, Held] = {}
        """Clients with more of an answer than is free, and what is counted of it."""
        self.slowed: dict[Reader, None] = {}
        """Clients whose answers wait in their workers until there is room, or until they have read what is here."""

    @property
    def spent(self) -> bool:
        """No answer may grow now."""
        return self.used >= self.total or bool(self.bodies)

    @property
    def strained(self) -> bool:
        """Somebody waits for a part of it."""
        return bool(self.bodies or self.slowed) or self.spent

    def reserve(self, body: Waiting, size: int) -> bool:
        """Take so many bytes for a body; False if it has to wait: it will be told."""
        size = min(size, self.total)  # or else it would wait for ever
        if self.bodies or self.used + size > self.total:
            self.bodies[body] = size
            self.on_strained()
            return False
        self._use(size)
        return True

    def _use(self, size: int) -> None:
        self.used += size
        self._note(self.used)

    def charge(self, size: int) -> None:
        """Count bytes that are here already, or are gone (negative)."""
        self._use(size)
        if size < 0:
            self.wake()

    def hold(self, client: Reader, size: int) -> None:
        """Count so many bytes for the answer of `client`, instead of those that it held."""
        held = self.holders.get(client)
        change = size
        if held is not None:
            change -= held.size
            held.size = size
            if not size:
                del self.holders[client]
        elif size:
            self.holders[client] = Held(size, client.taken())
        if change:
            self.charge(change)

    def stop_waiting(self, body: Waiting, size: int) -> None:
        """It waits no more, and has `size` bytes."""
        del self.bodies[body]
        self._use(size)
        self.wake()  # the first of those that wait may be another now

    def wake(self) -> None:
        """Give to those that wait what there is: to bodies first."""
        while self.bodies:
            body, size = next(iter(self.bodies.items()))
            if self.used + size > self.total:
                return
            del self.bodies[body]
            self._use(size)
            body.memory_granted(size)
        if self.slowed and self.used < self.total * WAKE_SHARE:
            slowed, self.slowed = self.slowed, {}
            for client in slowed:
                client.may_grow()
