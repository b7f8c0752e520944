"""The interface of all kinds of workers, local processes or pods: their status, and the commands for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from faucet.proxy.upstream import Backend


CONTROL_GREETING = b"faucet-control/1 "
"""The start of the first line of a control connection between two Faucets of a group. A token follows."""


class Way(NamedTuple):
    """Where another Faucet of a group accepts connections."""

    host: str
    port: int
    token: str


class Refused(Exception):
    """A command that cannot be carried out. The text says why."""


class StartFailed(Exception):
    """No worker can ever be started or found. The text is for the user."""


Answer = str | asyncio.Future[str]
"""A sentence that says what happens now, or a future of a sentence with the result. The future may hold Refused."""


@dataclass(frozen=True, slots=True)
class Command:
    """The arguments of an action."""

    who: str
    """The requester, for the log."""
    worker: str = ""
    """The name of the worker that the command is for."""
    count: int = 0
    """The number of workers to scale to."""
    wait: bool = False
    """Whether to answer only when the command is done, with its result."""


Action = Callable[[Command], Answer]
"""A function that carries out a command. Raises Refused."""


class Fleet(Protocol):
    """All workers of a service."""

    first_ready: asyncio.Future[None]
    """Done when a worker is ready, or requests can be answered with the reason why none is. Holds StartFailed if no
    worker will ever be ready."""

    actions: Mapping[str, Action]
    """The commands of this fleet, by name. `scale` and `rolling-restart` are for all workers, the others for one."""

    not_offered: Mapping[str, str]
    """Commands that only other fleets have, and what to do instead: texts for `str.format` with fields of Command."""

    def start(self) -> None:
        """Start the workers, or service discovery."""
        ...

    def prepare_to_end(self) -> None:
        """Start no more workers: the service is shutting down. Requests in progress are finished."""
        ...

    async def leave(self, seconds: float) -> bool:
        """The service is shutting down: have another Faucet take over within `seconds`. Return whether one does, so
        that requests that still arrive here can be served there."""
        ...

    async def stop(self) -> None:
        """End all workers, or disconnect from them. Afterwards no process or connection is left."""
        ...

    def reload(self, why: str) -> None:
        """Have all workers use the current files, or resolve the current endpoints. Never raises."""
        ...

    def described(self) -> str:
        """Return the number and kind of the workers: `4 workers`."""
        ...

    def origin(self) -> Origin:
        """Return where the workers come from."""
        ...

    def statuses(self) -> list[WorkerStatus]:
        """Return the status of all workers, in order."""
        ...

    def notice(self) -> str:
        """Return what affects all workers, e.g. a rolling restart or a fault; else an empty text."""
        ...

    def faults(self) -> Faults:
        """Return the current faults of the workers."""
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
        """The number of workers that there should be."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker, or one process of it while it is being replaced. The proxy knows its lock and its statistics.

    Moments are readings of the monotonic clock.
    """

    key: str
    """Unique among the workers of a fleet."""
    name: str
    """The worker's name in commands."""
    state: str
    """`starting`, `ready`, `held`, `draining`, `backoff` or `failed`; a ready worker may be busy."""
    backend: Backend | None
    """The worker as the proxy sees it; None if it gets no requests yet, or no more."""
    reason: str = ""
    """Why the worker gets no requests; empty if it gets some, or if the state says enough."""
    counted_as: str = ""
    """The name under which its requests are counted; empty if they are counted with another WorkerStatus."""
    pid: int = 0
    """0: no process on this machine."""
    port: int = 0
    since: float | None = None
    """When the worker became ready or, before that, when it was started."""
    next_try: float | None = None
    """When a failed worker is tried again, during the back-off."""
    restarts: int = 0
    address: str = ""
    """`10.244.1.11:8000`; empty for a worker on this machine."""
    last_exit: Exit | None = None
    """The latest unexpected end of its process."""


class WorkerDetails(NamedTuple):
    """A worker's status, and further values by name, which JSON can represent."""

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
    """The request that the worker was processing: `GET /segv`."""


class Fault(NamedTuple):
    """A fault that lasts until it is repaired."""

    since: float
    """A reading of the monotonic clock."""
    fact: str
    """What is wrong, in one line."""
    workers: int
    """How many workers the fault concerns."""
    detail: str = ""
    """All details of the fault, e.g. the output of R."""
    command: str = ""
    """A command that repairs the fault."""


class Faults(NamedTuple):
    """The faults of the workers of a fleet."""

    reload: Fault | None = None
    """Since the latest rolling restart has failed, some workers have code that is not the newest."""
    start: Fault | None = None
    """Some workers cannot be started."""
    unreachable: Fault | None = None
    """Some pods cannot be reached, or the set of pods is not known."""
    exits: tuple[Exit, ...] = ()
    """The latest unexpected ends of processes, the newest last."""


class Origin(NamedTuple):
    """Where workers come from that Faucet has not started. Moments are readings of the monotonic clock."""

    resolved_by: str = ""
    """How the workers are found; empty for local workers."""
    resolved: float | None = None
    """When the workers were last resolved; None: not yet."""
    trouble: str = ""
    """Why the latest resolution failed; for local workers, a lasting fault. Empty if there is none."""
    link: str = ""
    """The SSH link through which the workers are reached: `ops@bastion`; empty if they are reached directly."""
    link_state: str = ""
    """The state of the link: `connecting`, `up`, `suspect` or `down`."""
    link_since: float | None = None
    """Since when the link is in this state; None if there is no link."""
    link_detail: str = ""
    """Cipher and round-trip time of the link."""
    template: int = -1
    """The pid of the R process that workers are forked from; 0: none runs now; -1: workers are not forked."""
    group: Group | None = None
    """The Faucets of the service; None: this is the only one."""


class GroupMember(NamedTuple):
    """One Faucet of a service."""

    name: str
    address: str
    """The address at which the other Faucets reach this one."""
    state: str
    """`active`, `relay`, `waiting` or `unreachable`."""
    waiting: int
    """The number of requests that are queued at this Faucet."""


class Group(NamedTuple):
    """What a Faucet knows about itself and the other Faucets of its service. Moments are seconds since the epoch."""

    role: str
    """`active`, `relay`, or `waiting` for an active."""
    active: str
    """The name of the active Faucet; empty if there is none."""
    since: float
    """Since when the role and the active Faucet are the same."""
    epoch: int
    """The number of the active Faucet's take-over."""
    term_until: float
    """Until when the active Faucet may use pods without another renewal; 0 at a relay."""
    answered: float
    """When the Kubernetes API last answered; 0: never."""
    trouble: str
    """Why the Kubernetes API has not answered since then."""
    members: tuple[GroupMember, ...]
    """The Faucets of the service, this one first. A relay knows only itself and the active Faucet."""
    renewals: int
    takeovers: int
    relayed: int
    """Counters of this Faucet: renewals of the Lease, take-overs from another Faucet, requests sent to the active."""
    quarantined: int
    """Pods that are not used yet, since they may be busy with requests of an earlier active Faucet."""
    why_not_ready: str
    """Why this Faucet should get no requests; empty if it should."""
