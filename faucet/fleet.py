"""What can be seen of workers and asked of them, whatever they are: processes here, pods there."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, Protocol

from faucet.status.snapshot import WorkerRow


class Refused(Exception):
    """What was asked cannot be done. The text says why."""


class StartFailed(Exception):
    """There are no workers, and there never will be. The text is for the user."""


class Fleet(Protocol):
    """All workers. Each action returns a sentence that says what will happen now, and raises Refused.

    `worker` is a worker's name, `who` says who asks, for the log.
    """

    first_ready: asyncio.Future[None]
    """Done when there is somebody to serve, or it is clear what to tell those who ask; StartFailed if nobody ever
    will be."""

    def start(self) -> None:
        """Begin."""
        ...

    def prepare_to_end(self) -> None:
        """The service ends: finish what is in hand, begin nothing new."""
        ...

    async def stop(self) -> None:
        """End. Nothing is left afterwards."""
        ...

    def described(self) -> str:
        """How many of what: `4 workers`."""
        ...

    def origin(self) -> Origin:
        """Where they come from."""
        ...

    def rows(self) -> list[WorkerRow]:
        """All workers, in order."""
        ...

    def notice(self) -> str:
        """What goes on with all of them, e.g. a rolling restart; empty if nothing does."""
        ...

    def details(self, worker: str) -> dict[str, Any]:
        """Everything there is to know about one: names and values for people."""
        ...

    def restart(self, worker: str, who: str) -> str | asyncio.Future[str]:
        """Replace one, or `all`."""
        ...

    def roll(self, who: str) -> tuple[str, asyncio.Future[str]]:
        """Replace all, one after the other. Also what will come of it: a sentence, or Refused."""
        ...

    def roll_anew(self, why: str) -> None:
        """As `roll`, with what is there now, and another one after one that is under way. Never raises."""
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

    def drop(self, worker: str, who: str) -> str:
        """Cut the connection to one."""
        ...

    def retry(self, worker: str, who: str) -> str:
        """Try one again that was put aside, now."""
        ...

    @property
    def count(self) -> int:
        """How many there should be."""
        ...


class Origin(NamedTuple):
    """Where workers come from that Faucet has not started."""

    resolved_by: str = ""
    """How they are found; empty if they are our own."""
    resolved: float = 0.0
    """When somebody last told of them; 0: nobody has yet."""
    trouble: str = ""
    """Why nothing newer is known; empty if all is well."""
    link: str = ""
    """Through what they are reached: `ops@bastion`; empty if directly."""
    link_state: str = ""
    """`up`, or what it is instead, and why."""
    link_since: float = 0.0
    """Since when."""
    link_detail: str = ""
    """Cipher and round trip."""
