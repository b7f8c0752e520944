"""The memory that all buffers together may take, and who waits for some of it.

Each client may have a little of its own (FREE), which is not counted: the number of clients bounds that. What is more
is counted where a buffer really grows, never once per request.

Nobody waits for this budget while holding what somebody else needs, so there is no deadlock:

* A request body waits for it before its request has a lock, and for all it may need at once. A body that has got its
  part never waits again; one that waits has nothing but its FREE bytes.
* A request that holds a lock takes no more for its body: that is all here, or streamed past the buffer. Its answer
  always has the FREE bytes of its client. So it ends as soon as its client reads, and a client that does not is ended.
* Bodies come first, in their order: while one waits no answer grows beyond its FREE bytes, so what is used shrinks.
"""

from __future__ import annotations

from typing import Protocol

FREE = 64 * 1024
"""Bytes of an answer, and of a body, that each client may have whatever the others have."""

WAKE_SHARE = 0.75
"""Share of the total below which answers may grow again: not with each byte that becomes free."""


class Waiting(Protocol):
    """A request's body that may have to wait."""

    def memory_granted(self, size: int) -> None:
        """It has so many bytes now."""


class Slowed(Protocol):
    """A client whose answer may have to wait."""

    def may_grow(self) -> None:
        """There is room for more of it."""


class Budget:
    """Counts bytes. All methods are O(1), but for those woken."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.bodies: dict[Waiting, int] = {}
        """Those that wait, and for how much; oldest first."""
        self.slowed: dict[Slowed, None] = {}
        """Clients whose answers wait in their workers until there is room, or until they have read what is here."""

    @property
    def spent(self) -> bool:
        """No answer may grow now."""
        return self.used >= self.total or bool(self.bodies)

    def reserve(self, body: Waiting, size: int) -> bool:
        """Take so many bytes for a body; False if it has to wait: it will be told."""
        size = min(size, self.total)  # or else it would wait for ever
        if self.bodies or self.used + size > self.total:
            self.bodies[body] = size
            return False
        self.used += size
        return True

    def charge(self, size: int) -> None:
        """Count bytes that are here already, or are gone (negative)."""
        self.used += size
        if size < 0:
            self.wake()

    def stop_waiting(self, body: Waiting, size: int) -> None:
        """It waits no more, and has `size` bytes."""
        del self.bodies[body]
        self.used += size
        self.wake()  # the first of those that wait may be another now

    def wake(self) -> None:
        """Give to those that wait what there is: to bodies first."""
        while self.bodies:
            body, size = next(iter(self.bodies.items()))
            if self.used + size > self.total:
                return
            del self.bodies[body]
            self.used += size
            body.memory_granted(size)
        if self.slowed and self.used < self.total * WAKE_SHARE:
            slowed, self.slowed = self.slowed, {}
            for client in slowed:
                client.may_grow()
