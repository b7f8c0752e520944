"""The memory budget of all buffers together, and the queue for it.

Each client may use FREE bytes that are not counted: the number of clients bounds those. Bytes beyond FREE are counted
when a buffer really grows, never once per request.

A deadlock is impossible, because nothing waits for the budget while it holds what another request needs:

* A request body reserves all the memory that it may need at once, before its request has a lock. A body that has its
  reservation never waits again; a body that waits has only its FREE bytes.
* A request that holds a lock reserves no more for its body: the body has arrived, or is streamed past the buffer. The
  response may always use the FREE bytes of its client. So the request ends as soon as its client reads, and a client
  that does not read is disconnected.
* A client that reads too slowly while the budget is spent is disconnected (pressure.py).
* Bodies come first, in order of arrival: while a body waits, no response grows beyond its FREE bytes, so usage shrinks.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

FREE = 64 * 1024
"""Bytes of a response, and of a request body, that each client may buffer regardless of the other clients."""

WAKE_SHARE = 0.75
"""Share of the total below which responses may grow again. It avoids a wake-up for each byte that becomes free."""


class Waiting(Protocol):
    """A request body that may have to wait for memory."""

    def memory_granted(self, size: int) -> None:
        """Called when `size` bytes have been reserved for this body."""


class Reader(Protocol):
    """A client whose response may have to wait for memory."""

    def may_grow(self) -> None:
        """Called when the response may grow again."""

    def taken(self) -> int:
        """Return the number of bytes that the client has read."""

    def cut(self) -> None:
        """Reset the client's connection."""

    def __hash__(self) -> int: ...


class Held:
    """What one client holds of the budget."""

    __slots__ = ("since", "size", "taken")

    def __init__(self, size: int, taken: int) -> None:
        self.size = size
        self.since = monotonic()
        self.taken = taken
        """Bytes that the client had read at `since`."""


class Budget:
    """Counts bytes. All methods are O(1), plus the cost of the bodies and clients that are woken."""

    def __init__(self, total: int, note: Callable[[int], None]) -> None:
        """Limit the buffers to `total` bytes. `note` is called with the bytes in use whenever that number changes."""
        self.total = total
        self._note = note
        self.on_strained: Callable[[], None] = lambda: None
        """Called when a body begins to wait, or a response that cannot be spooled to a file."""
        self.used = 0
        self.bodies: dict[Waiting, int] = {}
        """The bodies that wait, oldest first, and the bytes that each waits for."""
        self.holders: dict[Reader, Held] = {}
        """Clients that buffer more than FREE bytes of a response, and the bytes counted for each."""
        self.slowed: dict[Reader, None] = {}
        """Clients whose responses wait in the workers until the budget has room, or until the client has read what is
        buffered."""

    @property
    def spent(self) -> bool:
        """Whether no response may grow now."""
        return self.used >= self.total or bool(self.bodies)

    @property
    def strained(self) -> bool:
        """Whether a body or a response waits for memory, or the budget is spent."""
        return bool(self.bodies or self.slowed) or self.spent

    def reserve(self, body: Waiting, size: int) -> bool:
        """Reserve `size` bytes for a body. False: the body has to wait, until its `memory_granted` is called."""
        size = min(size, self.total)  # or else the body would wait for ever
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
        """Count `size` bytes that are buffered already, or have been freed if `size` is negative."""
        self._use(size)
        if size < 0:
            self.wake()

    def hold(self, client: Reader, size: int) -> None:
        """Count `size` bytes for the response of `client`, in place of the bytes counted for it before."""
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
        """Take `body` out of the queue for memory, and count the `size` bytes that it has."""
        del self.bodies[body]
        self._use(size)
        self.wake()  # another body may be the first in the queue now

    def wake(self) -> None:
        """Give the free memory to what waits for it: to bodies first, then to responses."""
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
