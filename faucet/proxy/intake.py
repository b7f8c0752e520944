"""The part of a request's body that is in hand: not sent yet, or perhaps to be sent again."""

from __future__ import annotations

from collections.abc import Callable

from faucet.proxy.budget import FREE, Budget


class Intake:
    """Up to `limit` bytes of one body. What is more than a little is taken from the budget, all at once, so that a body
    which has got its part never waits again. `on_memory` is called when it has waited for that."""

    __slots__ = ("_budget", "_limit", "_on_memory", "_reserved", "held", "streaming")

    def __init__(self, budget: Budget, limit: int, on_memory: Callable[[], None]) -> None:
        self._budget = budget
        self._limit = limit
        self._on_memory = on_memory
        self._reserved = 0  # bytes of the budget; negative: it waits for them
        self.held = bytearray()
        self.streaming = False
        """The body is longer than the limit: it passes through, and cannot be sent again."""

    @property
    def waits(self) -> bool:
        """It waits for memory, and takes no more until then."""
        return self._reserved < 0

    @property
    def full(self) -> bool:
        """There is more than may be held."""
        return len(self.held) > self._limit

    def reserve(self, length: int | None) -> bool:
        """Take memory for all that may come of a body of `length`, if it is a long one. False: it has to wait."""
        if self._reserved or len(self.held) <= FREE:
            return not self.waits
        size = max(min(self._limit, length or self._limit), len(self.held))
        granted = self._budget.reserve(self, size)
        self._reserved = min(size, self._budget.total) if granted else -1
        return granted

    def memory_granted(self, size: int) -> None:
        """It has waited for memory, and has it now."""
        self._reserved = size
        self._on_memory()

    def complete(self) -> None:
        """No more will be held than is here."""
        if self._reserved:
            self._settle(len(self.held))

    def drop(self) -> None:
        """What is held is not needed any more."""
        self.held.clear()
        if self._reserved:
            self._settle(0)

    def _settle(self, size: int) -> None:
        """Of the budget it has `size` bytes from now on, whatever it had or waited for."""
        had, self._reserved = self._reserved, size
        if had < 0:
            self._budget.stop_waiting(self, size)
        else:
            self._budget.charge(size - had)
