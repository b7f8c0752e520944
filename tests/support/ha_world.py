"""A world for several members: real time, clocks that drift, an API that loses things, pods that count. No I/O.

Everything happens in one thread, in the order of a heap, from one random generator: a seed is a history. After each
step the invariants of faucet/ha are checked from outside, by what the pods have seen and what the terms say.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from faucet.ha.decisions import Write
from faucet.ha.record import Lease, Record

SLOWEST, FASTEST = 0.8, 1.3
"""Rates of the members' clocks: their ratio is just below that of lease duration to renew deadline."""

QUARANTINE = 4.0
LONGEST_SERVICE = QUARANTINE / FASTEST - 0.1
"""Real seconds: what quarantine is meant to cover, whatever the clock."""


REMEMBERED = 60.0
"""Seconds for which a strict pod refuses older epochs, after it last saw the newest one."""


class Violation(AssertionError):
    """An invariant does not hold."""


class Excluded(Exception):
    """The rules promise nothing here: a Lease is deleted while its holder lives on promises, and someone comes who has
    never seen one."""


class Process(Protocol):
    """What the checks need of a member."""

    alive: bool

    def allowed_epoch(self) -> int:
        """The epoch in which it may grant at this moment; 0 if it may not."""
        ...


class World:
    """Time and chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.terms_overlap = False
        """Whether two members may grant at once: with `--ha-on-partition serve`, whose pods have to be strict."""
        self.processes: list[Process] = []
        self.holder_of_epoch: dict[int, object] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, moment: float, what: Callable[[], None]) -> None:
        """Do it at that real time."""
        self._count += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._count, what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Do it so many real seconds from now."""
        self.at(self.now + seconds, what)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.random.random() < probability

    def run(self, until: float) -> None:
        """Let happen what happens until then, and check after each step."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self._heap)
            what()
            self.steps += 1
            self.check_terms()
        self.now = until

    def check_terms(self) -> None:
        """I1: no two members may grant at the same time, and an epoch is that of one process."""
        allowed = [process for process in self.processes if process.alive and process.allowed_epoch()]
        if len(allowed) > 1 and not self.terms_overlap:
            raise Violation(f"I1: {len(allowed)} members may grant at {self.now:.3f}")
        for process in allowed:
            first = self.holder_of_epoch.setdefault(process.allowed_epoch(), process)
            if first is not process:
                raise Violation(f"I1: two members in epoch {process.allowed_epoch()}")


class Api:
    """The API server and its one Lease: compare-and-swap, and every way for a call to get lost."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lease: Lease | None = None
        self.version = 100
        self.cut: dict[object, str] = {}
        """How calls of a member fail: "refused" at once, "silent", or "deaf" (done, but not answered)."""
        self.late: dict[object, float] = {}
        """Real seconds by which answers to a member are late."""
        self.delay = 0.01
        self.slow_share = 0.01
        """The share of calls that take seconds, on one of their ways."""
        self.lost_share = 0.0
        """The share of calls that are done, but not answered."""
        self.deleted_at = self.created_at = -inf

    def call(self, who: object, call: object, answer: Callable[[str, object], None]) -> None:
        """Carry out a Read or Write; `answer(kind, what)` with read, written, refused or failed; or never."""
        world, cut = self.world, self.cut.get(who)
        if cut == "refused":
            world.after(0.005, lambda: answer("failed", None))
        elif cut != "silent":
            world.after(self._way(), lambda: self._apply(who, call, answer))

    def _way(self) -> float:
        slow = self.world.random.choice((1.0, 2.0, 12.0)) if self.world.chance(self.slow_share) else 0.0
        return self.world.random.uniform(0.2, 1.0) * (self.delay + slow)

    def _apply(self, who: object, call: object, answer: Callable[[str, object], None]) -> None:
        kind, what = self._write(call) if isinstance(call, Write) else ("read", self.lease)
        if not self.world.chance(self.lost_share):
            way = self._way() + self.late.get(who, 0.0)
            self.world.after(way, lambda: self._deliver(who, kind, what, answer))

    def _deliver(self, who: object, kind: str, what: object, answer: Callable[[str, object], None]) -> None:
        if self.cut.get(who) is None:
            answer(kind, what)

    def _write(self, write: Write) -> tuple[str, object]:
        if write.version != (self.lease.version if self.lease is not None else ""):
            return "refused", None
        if write.record.epoch == 1 and (self.lease is None or self.lease.record.epoch != 1):
            self.world.holder_of_epoch.clear()  # nobody remembers an earlier one
            if any(process.alive and process.allowed_epoch() for process in self.world.processes):
                raise Excluded  # also with strict pods: an epoch would be that of two
        if self.lease is None:
            self.created_at = self.world.now
        if self.lease is None or self.lease.record != write.record:
            self.store(write.record)
        assert self.lease is not None
        return "written", self.lease.version

    def store(self, record: Record) -> None:
        """As a new version."""
        self.version += 1
        self.lease = Lease(record, str(self.version))

    def delete(self) -> None:
        """As an administrator does."""
        self.lease = None
        self.deleted_at = self.world.now


@dataclass(eq=False)
class Service:
    """A request in a pod."""

    owner: object
    begun: float
    figure: float


@dataclass
class Pod:
    """One R: it must have one request at a time. If `strict`, a Faucet in the pod sees to that itself."""

    world: World
    name: str
    strict: bool = False
    services: list[Service] = field(default_factory=list)
    deaf_until: float = 0.0
    newest: int = 0
    """The newest epoch that a strict pod has seen, and when it did so last."""
    newest_at: float = -inf
    refused: int = 0
    """How many requests a strict pod has refused."""

    def refuses(self, epoch: int) -> bool:
        """Whether a strict pod refuses a request of that epoch now: it is busy, or knows of a newer active."""
        if epoch >= self.newest or self.world.now - self.newest_at > REMEMBERED:
            self.newest, self.newest_at = epoch, self.world.now
        refuses = self.is_busy() or self.is_old(epoch)
        self.refused += refuses
        return refuses

    def is_busy(self) -> bool:
        """The first reason to refuse a request."""
        return bool(self.services)

    def is_old(self, epoch: int) -> bool:
        """The second one."""
        return epoch < self.newest

    def begin(self, owner: object, epoch: int, figure: float, answer: Callable[[], None]) -> None:
        """A request begins. I2: it is the only one, or the quarantine for the others has passed."""
        for other in self.services:
            if self.strict or other.owner is owner or self.world.now - other.begun < figure / FASTEST - 1e-6:
                raise Violation(f"I2: two requests in {self.name} at {self.world.now:.3f}")
        if self.strict and epoch < self.newest:
            raise Violation(f"I2: a request of epoch {epoch} in {self.name}, which knows epoch {self.newest}")
        service = Service(owner, self.world.now, figure)
        self.services.append(service)
        seconds = self.world.random.uniform(0.02, LONGEST_SERVICE if self.world.chance(0.4) else 0.2)
        self.world.at(max(self.world.now + seconds, self.deaf_until), lambda: self._end(service, answer))

    def _end(self, service: Service, answer: Callable[[], None]) -> None:
        self.services.remove(service)
        self.world.after(0.001, answer)


@dataclass(eq=False)
class Request:
    """A client's request, from its arrival at a member to its outcome."""

    number: int
    idempotent: bool
    arrived: float
    begun: int = 0
    outcome: str = ""
    settled: float = 0.0

    def settle(self, outcome: str, now: float) -> None:
        """I3: there is one outcome."""
        if self.outcome:
            raise Violation(f"I3: request {self.number} was {self.outcome}, and now {outcome}")
        self.outcome, self.settled = outcome, now

    def begin(self) -> None:
        """I3: what must not be sent twice is not."""
        self.begun += 1
        if self.begun > 1 and not self.idempotent:
            raise Violation(f"I3: request {self.number} was sent to a pod twice")
