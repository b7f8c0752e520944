"""The interface of all kinds of workers, processes here or pods there: what can be seen of them, and the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from faucet.proxy.upstream import Backend


class Refused(Exception):
    """A command that cannot be carried out. The text says why."""


class StartFailed(Exception):
    """There are no workers, and there never will be. The text is for the user."""


Answer = str | asyncio.Future[str]
"""A sentence that says what happens now, or will come of it; the future may hold Refused."""


@dataclass(frozen=True, slots=True)
class Command:
    """What an action needs to know."""

    who: str
    """Who requests it, for the log."""
    worker: str = ""
    """The name of the worker that is meant."""
    count: int = 0
    """How many workers there should be."""
    wait: bool = False
    """Answer when it is done, with what has come of it."""


Action = Callable[[Command], Answer]
"""Raises Refused."""


class Fleet(Protocol):
    """All workers of a service."""

    first_ready: asyncio.Future[None]
    """Done when a worker is ready, or requests can be answered with the reason why none is; StartFailed if none ever
    will be."""

    actions: Mapping[str, Action]
    """The commands that it takes, by name. `scale` and `rolling-restart` are for all workers, the others for one."""

    not_offered: Mapping[str, str]
    """Commands of other fleets, and what to do instead: texts for `str.format` with the fields of Command."""

    def start(self) -> None:
        """Start the workers, or service discovery."""
        ...

    def prepare_to_end(self) -> None:
        """Begin nothing new: the service ends. Requests in progress are finished."""
        ...

    async def leave(self, seconds: float) -> bool:
        """The service ends: have another Faucet go on, within so many seconds. Returns whether one does, so that what
        still comes here is served there."""
        ...

    async def stop(self) -> None:
        """End all workers, or disconnect from them. Nothing is left afterwards."""
        ...

    def reload(self, why: str) -> None:
        """Have all workers use what is there now: files, or endpoints. Never raises."""
        ...

    def described(self) -> str:
        """Return how many of what there are: `4 workers`."""
        ...

    def origin(self) -> Origin:
        """Return where the workers come from."""
        ...

    def statuses(self) -> list[WorkerStatus]:
        """Return the status of all workers, in order."""
        ...

    def notice(self) -> str:
        """Return what happens to all of them, e.g. a rolling restart, or what is wrong; else an empty text."""
        ...

    def faults(self) -> Faults:
        """Return what is wrong."""
        ...

    def details(self, worker: str) -> WorkerDetails:
        """Return all that is known about one worker. Raises Refused if there is no such worker."""
        ...

    @property
    def failing(self) -> bool:
        """Whether no worker is in service, and each has failed to start."""
        ...

    @property
    def count(self) -> int:
        """How many workers there should be."""
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
    last_exit: Exit | None = None
    """The latest end of its process that nobody has asked for."""


class WorkerDetails(NamedTuple):
    """A worker's status, and what else its fleet knows about it: names, and values that JSON can hold."""

    status: WorkerStatus
    values: dict[str, Any]


class Exit(NamedTuple):
    """The end of a worker's process."""

    when: float
    """A reading of the monotonic clock."""
    worker: str
    text: str
    """A sentence with the worker as its subject: `crashed (SIGSEGV) while serving GET /segv after 1.4s`."""
    request: str = ""
    """What it was at work on: `GET /segv`."""


class Fault(NamedTuple):
    """Something that is wrong until further notice."""

    since: float
    """A reading of the monotonic clock."""
    fact: str
    """What is wrong, in one line."""
    workers: int
    """How many workers it concerns."""
    detail: str = ""
    """All that is known of it: what R has written."""
    command: str = ""
    """A command that repairs it."""


class Faults(NamedTuple):
    """What is wrong with the workers of a fleet."""

    reload: Fault | None = None
    """Since the latest rolling restart has failed, some workers have code that is not the newest."""
    start: Fault | None = None
    """Some workers cannot be started."""
    unreachable: Fault | None = None
    """Some pods cannot be reached, or it is not known which there are."""
    exits: tuple[Exit, ...] = ()
    """The latest ends of processes that nobody has asked for, the newest last."""


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
    template: int = -1
    """The pid of the R that workers are forked from; 0: there is none now; -1: they are not forked."""
    group: Group | None = None
    """The Faucets of the service; None: this is the only one."""


class GroupMember(NamedTuple):
    """One Faucet of a service."""

    name: str
    address: str
    """Where others reach it."""
    state: str
    """`active`, `relay`, `waiting` or `unreachable`."""
    waiting: int
    """Requests that are queued at it."""


class Group(NamedTuple):
    """What a Faucet knows of itself and of the others of its service. Moments are seconds since the epoch."""

    role: str
    """`active`, `relay`, or `waiting` for an active."""
    active: str
    """The name of the active; empty if there is none."""
    since: float
    """Since when the role is this one, and the active."""
    epoch: int
    """The number of the active's take-over."""
    term_until: float
    """Until when the active may use pods, if nothing is renewed; 0 at a relay."""
    answered: float
    """When the Kubernetes API answered last; 0: never."""
    trouble: str
    """Why it did not, since then."""
    members: tuple[GroupMember, ...]
    """This one first. A relay knows only itself and the active."""
    renewals: int
    takeovers: int
    relayed: int
    """Counters of this Faucet: renewals of the Lease, take-overs from another, requests handed to the active."""
    quarantined: int
    """Pods that are not used yet, since they may be busy for an earlier active."""
    why_not_ready: str
    """Why this Faucet should get no requests; empty if it should."""
