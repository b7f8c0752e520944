"""What can be seen of workers and asked of them, whatever they are: processes here, pods there."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from faucet.snapshot import WorkerRow


class Refused(Exception):
    """What was asked cannot be done. The text says why."""


class Fleet(Protocol):
    """All workers. Each action returns a sentence that says what will happen now, and raises Refused.

    `worker` is a worker's name, `who` says who asks, for the log.
    """

    def rows(self) -> list[WorkerRow]:
        """All workers, in order."""
        ...

    def notice(self) -> str:
        """What goes on with all of them, e.g. a rolling restart; empty if nothing does."""
        ...

    def details(self, worker: str) -> dict[str, Any]:
        """Everything there is to know about one: names and values for people."""
        ...

    def restart(self, worker: str, who: str) -> str:
        """Replace one, or `all`."""
        ...

    def roll(self, who: str) -> tuple[str, asyncio.Future[str]]:
        """Replace all, one after the other. Also what will come of it: a sentence, or Refused."""
        ...

    def scale(self, count: int, who: str) -> str:
        """Have as many."""
        ...

    def hold(self, worker: str, who: str) -> str:
        """Give one no more requests, and keep it."""
        ...

    def resume(self, worker: str, who: str) -> str:
        """Undo hold."""
        ...

    def kill(self, worker: str, who: str) -> str:
        """End one now."""
        ...

    @property
    def count(self) -> int:
        """How many there should be."""
        ...
