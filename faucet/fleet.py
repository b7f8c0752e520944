"""What can be seen of workers and asked of them, whatever they are: processes here, pods there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from faucet.proxy.upstream import Backend


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

    def statuses(self) -> list[WorkerStatus]:
        """Return the status of all workers, in order."""
        ...

    def notice(self) -> str:
        """What goes on with all of them, e.g. a rolling restart; empty if nothing does."""
        ...

    def details(self, worker: str) -> WorkerDetails:
        """Return all that is known about one worker. Raises Refused if there is no such worker."""
        ...

    def restart(self, worker: str, who: str) -> str | asyncio.Future[str]:
        """Replace one, or `all`."""
        ...

    def roll(self, who: str) -> tuple[str, asyncio.Future[str]]:
        """Replace all, one after the other. Also what will come of it: a sentence, or Refused."""
        ...

    def reload(self, why: str) -> None:
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
    def failing(self) -> bool:
        """None is in service, and each has failed to start."""
        ...

    @property
    def count(self) -> int:
        """How many there should be."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker, or one process of it while it is being replaced. Its lock and its numbers are the proxy's to tell.

    Moments are readings of the monotonic clock.
    """

    key: str
    """Unique among the workers of a fleet."""
    name: str
    """Its name in commands."""
    state: str
    """`starting`, `ready`, `held`, `draining`, `backoff` or `failed`; a ready worker may be busy."""
    backend: Backend | None
    """What the proxy knows it by; None if it gets no requests yet, or no more."""
    reason: str = ""
    """Why it gets no requests; empty if it gets some, or if the state tells."""
    counted_as: str = ""
    """The name under which its requests are counted; empty if they are counted with another status."""
    pid: int = 0
    """0: no process on this machine."""
    port: int = 0
    since: float | None = None
    """When it became ready or, before that, when it was started."""
    next_try: float | None = None
    """When it is tried again, while it waits for that."""
    restarts: int = 0
    address: str = ""
    """`10.244.1.11:8000`; empty for a worker on this machine."""


class WorkerDetails(NamedTuple):
    """A worker's status, and what else its fleet knows about it: names, and values that JSON can hold."""

    status: WorkerStatus
    values: dict[str, Any]


class Origin(NamedTuple):
    """Where workers come from that Faucet has not started. Moments are readings of the monotonic clock."""

    resolved_by: str = ""
    """How they are found; empty if they are our own."""
    resolved: float | None = None
    """When they were last resolved; None: not yet."""
    trouble: str = ""
    """Why nothing newer is known; of our own: what is wrong until further notice. Empty if all is well."""
    link: str = ""
    """Through what they are reached: `ops@bastion`; empty if directly."""
    link_state: str = ""
    """`up`, or what it is instead, and why."""
    link_since: float | None = None
    """Since when; None if there is no link."""
    link_detail: str = ""
    """Cipher and round trip."""
