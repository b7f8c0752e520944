"""Torments simulated Faucets with everything at once, and checks the invariants of faucet/ha after each step.

`python -m tests.support.ha_sim SECONDS [SEED]` runs seeds for so long, each with ordinary pods, with strict pods, and
with strict pods under `--ha-on-partition serve`; it names one that fails. With SEED, that one alone.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from time import monotonic

from faucet.ha.record import NOBODY, Record
from tests.support.ha_modes import PLAIN, STRICT, STRICT_SERVE, Mode
from tests.support.ha_node import TIMING, Cluster, Node
from tests.support.ha_world import Excluded, Request, Violation, World

TORMENT = 120.0
"""Real seconds, of the simulated world, for which faults happen."""

RECOVERY = 150.0
"""Seconds without faults after which all must be well: the wait of a member that nobody knows, and a take-over."""


class Torment:
    """One history: a cluster, its clients, and what goes wrong."""

    def __init__(self, seed: int, faults: tuple[str, ...] | None = None, mode: Mode = PLAIN) -> None:
        self.seed = seed
        self.excluded = False
        self.world = World(seed)
        chance = self.world.random
        self.cluster = Cluster(self.world, chance.choice((2, 3, 3, 4)), chance.choice((1, 2, 3)), mode)
        self.cluster.api.slow_share = chance.choice((0.0, 0.02, 0.2))
        self.cluster.api.lost_share = chance.choice((0.0, 0.0, 0.2))
        self.cluster.link_delay = chance.choice((0.002, 0.02, 0.2))
        self._names = itertools.count(10)
        # Not all at once: many faults hide what a few bring about.
        chosen = faults or chance.sample(FAULTS, chance.choice((2, 3, 4, len(FAULTS))))
        self._faults = [getattr(self, f"_{name}") for name in chosen]
        self._pace = chance.choice((0.5, 1.0, 3.0, 8.0))
        self._over = False
        self._numbers = itertools.count(1)
        self._load = len(self.cluster.pods) * chance.choice((0.1, 0.4, 0.7))
        self._next_request()
        self.world.after(chance.uniform(0, 30), self._next_fault)

    def run(self) -> int:
        """Run it to its end; return the number of steps. Raises Violation."""
        try:
            self._run()
        except Excluded:
            self.excluded = True
        return self.world.steps

    def _run(self) -> None:
        self.world.run(TORMENT)
        self._over = True
        self._heal()
        self.world.run(TORMENT + RECOVERY)
        self._check_recovered()

    def _check_recovered(self) -> None:
        active = [node for node in self.cluster.nodes if node.alive and node.allowed_epoch()]
        if len(active) != 1:
            raise Violation(f"liveness: {len(active)} active {RECOVERY:g} s after the last fault")
        open_requests = [request.number for request in self.cluster.requests if not request.outcome]
        if open_requests:
            raise Violation(f"liveness: requests {open_requests[:5]} have no outcome")

    # -- clients -----------------------------------------------------------------------------------------------

    def _next_request(self) -> None:
        chance = self.world.random
        takers = [node for node in self.cluster.nodes if node.alive and not node.leaving]
        if takers and not self._over:
            request = Request(next(self._numbers), chance.random() < 0.7, self.world.now)
            self.cluster.requests.append(request)
            self._arrive(chance.choice(takers), request)
        if not self._over:
            self.world.after(chance.expovariate(self._load), self._next_request)

    def _arrive(self, node: Node, request: Request) -> None:
        if node.alive:
            node.own_requests.add(request)
            node.post(lambda: node.relay.arrived(request, request.idempotent))
        else:
            request.settle("refused", self.world.now)

    # -- faults ------------------------------------------------------------------------------------------------

    def _next_fault(self) -> None:
        if self._over:
            return
        self.world.random.choice(self._faults)()
        self.world.after(self.world.random.expovariate(1 / self._pace), self._next_fault)

    def _living(self) -> Node | None:
        living = [node for node in self.cluster.nodes if node.alive and not node.leaving]
        active = [node for node in living if node.election.is_active]
        chance = self.world.random
        return chance.choice(active if active and chance.random() < 0.5 else living) if living else None

    def _nothing(self) -> None:
        """For tests that choose their own fault."""

    def _crash(self) -> None:
        """The process dies, and its container restarts, or another pod takes its place."""
        node = self._living()
        if node is None:
            return
        node.die()
        if self.world.chance(0.6):
            name, uid = node.election.me.name, node.election.me.uid
            self.world.after(self.world.random.choice((0.1, 1.0, 4.0)), lambda: _do(self.cluster.start(name, uid)))
        else:
            self.world.after(self.world.random.uniform(0.3, 20.0), lambda: _do(self._replacement()))

    def _replacement(self) -> Node:
        number = next(self._names)
        return self.cluster.start(f"f{number}", f"uid-{number}")

    def _freeze(self) -> None:
        node = self._living()
        if node is not None:
            seconds = self.world.random.choice((0.3, 2.0, 8.0, 20.0)) * self.world.random.uniform(0.5, 1.5)
            node.freeze(seconds)
            for link in node.links:
                if seconds > 4.0 and self.world.chance(0.5):
                    self.world.after(4.0, link.close)

    def _cut_api(self) -> None:
        """For some, or all; it comes back for one after the other."""
        chance = self.world.random
        names = [node.election.me.name for node in self.cluster.nodes if node.alive]
        some = names if chance.random() < 0.5 else chance.sample(names, chance.randint(0, len(names)))
        how, seconds = chance.choice(("silent", "refused", "deaf")), chance.choice((1.0, 5.0, 15.0, 40.0))
        for name in some:
            self._cut_for(name, how, seconds * chance.uniform(0.5, 1.5))

    def _cut_for(self, name: str, how: str, seconds: float) -> None:
        cut = self.cluster.api.cut
        cut[name] = how
        self.world.after(seconds, lambda: _do(cut.pop(name, None)))

    def _isolate(self) -> None:
        """The active alone loses the API."""
        for node in self.cluster.nodes:
            if node.alive and node.election.is_active:
                seconds = self.world.random.choice((3.0, 8.0, 20.0))
                self._cut_for(node.election.me.name, "silent", seconds * self.world.random.uniform(0.5, 1.5))

    def _late(self) -> None:
        """Answers to the active, or its successor, come late, or not in time; soon after, it alone loses the API."""
        chance, late = self.world.random, self.cluster.api.late
        if chance.random() < 0.5:
            self._handover()
        seconds = chance.uniform(0.5, 3.0)
        late |= {node.election.me.name: seconds for node in self.cluster.nodes}
        self.world.after(chance.uniform(3.0, 6.0), self._lose)

    def _lose(self) -> None:
        self.cluster.api.late.clear()
        lease = self.cluster.api.lease
        holder = self.cluster.by_identity(lease.record.holder) if lease is not None else None
        if holder is not None:
            self._cut_for(holder.election.me.name, "silent", self.world.random.uniform(8.0, 20.0))

    def _newcomer(self) -> None:
        """All others lose the API for long, just when a new member comes: before or when the Lease lists it."""
        names = [node.election.me.name for node in self.cluster.nodes if node.alive]
        if len(names) < 6:
            new = self._replacement()
            self._surround(new, names, self.world.now + self.world.random.choice((0.0, 5.0)))

    def _surround(self, new: Node, names: list[str], latest: float) -> None:
        lease = self.cluster.api.lease
        if self.world.now < latest and not (lease is not None and new.key in lease.record.members):
            self.world.after(0.001, lambda: self._surround(new, names, latest))
            return
        seconds = self.world.random.choice((12.0, 50.0, 70.0))
        for name in names:
            self._cut_for(name, "silent", seconds)
            self.cluster.partition(name, new.election.me.name, seconds)

    def _partition(self) -> None:
        names = [node.election.me.name for node in self.cluster.nodes if node.alive]
        if len(names) > 1:
            one, other = self.world.random.sample(names, 2)
            self.cluster.partition(one, other, self.world.random.choice((0.5, 5.0, 20.0)))

    def _roll(self) -> None:
        """A new member first; when it is known, the old one leaves."""
        old = self._living()
        if old is None or len([node for node in self.cluster.nodes if node.alive]) > 5:
            return
        new = self._replacement()
        self._when_ready(new, old)

    def _when_ready(self, new: Node, old: Node) -> None:
        lease = self.cluster.api.lease
        if not new.alive or not old.alive:
            return
        if lease is not None and new.key in lease.record.members:
            old.post(lambda: old.release(leave=True))
            self.world.after(0.1, lambda: self._end_when_done(old))
        elif not self._over:
            self.world.after(0.3, lambda: self._when_ready(new, old))

    def _end_when_done(self, old: Node) -> None:
        if old.alive and old.leaving and old.is_done:
            old.die()
        elif old.alive:
            self.world.after(0.1, lambda: self._end_when_done(old))

    def _handover(self) -> None:
        """`faucet ctl handover`, which wants another member that stays."""
        staying = [node for node in self.cluster.nodes if node.alive and not node.leaving]
        for node in staying:
            if node.election.is_active and len(staying) > 1:
                node.post(lambda node=node: node.release(leave=False))  # type: ignore[misc]

    def _touch(self) -> None:
        """Someone annotates the Lease: another version, nothing else."""
        lease = self.cluster.api.lease
        if lease is not None:
            self.cluster.api.store(replace(lease.record))

    def _delete(self) -> None:
        """An administrator deletes the Lease: not twice in a minute, nor while somebody lives on promises."""
        extended = [node for node in self.cluster.nodes if node.alive and _on_promises(node)]
        api = self.cluster.api
        if not extended and self.world.now - max(api.created_at, api.deleted_at) > 60.0:
            api.delete()
            if self.world.chance(0.3):  # kubectl apply
                self.world.after(0.5, self._apply_empty)

    def _apply_empty(self) -> None:
        if self.cluster.api.lease is None:
            self.cluster.api.store(Record(holder="", epoch=0, lease_duration=TIMING.lease_duration, members=NOBODY))

    def _deafen(self) -> None:
        """A pod answers nothing for a while."""
        pod = self.cluster.pod[self.world.random.choice(self.cluster.pods)]
        pod.deaf_until = self.world.now + self.world.random.uniform(3.0, 30.0)

    def _heal(self) -> None:
        self.cluster.api.cut.clear()
        self.cluster.api.late.clear()
        self.cluster.api.slow_share = self.cluster.api.lost_share = 0.0
        self.cluster.cuts.clear()
        self.cluster.mode = self.cluster.mode._replace(late_writes=False)
        if not any(node.alive and not node.leaving for node in self.cluster.nodes):
            self._replacement()


FAULTS = (
    "crash",
    "freeze",
    "cut_api",
    "isolate",
    "late",
    "newcomer",
    "partition",
    "roll",
    "handover",
    "touch",
    "delete",
    "deafen",
)


def _do(*_: object) -> None:
    """Drop what a callback returns."""


def _on_promises(node: Node) -> bool:
    term = node.election.term
    return term is not None and term.until > term.renewed_at + TIMING.renew_deadline


def run_seeds(seeds: Iterable[int], make: Callable[[int], Torment] = Torment, steps: int | None = None) -> int:
    """Run so many seeds, or until so many steps are made; return the steps. Raises Violation with the seed."""
    total = 0
    for seed in seeds:
        try:
            total += make(seed).run()
        except Violation as violation:
            raise Violation(f"seed {seed}: {violation}") from violation
        if steps is not None and total >= steps:
            break
    return total


MODES = {"ordinary pods": PLAIN, "strict pods": STRICT, "strict pods, serve": STRICT_SERVE}


def main(seconds: float, seed: int | None = None) -> None:
    """Run seeds for so many seconds, or one; each in every mode."""
    began, first = monotonic(), random.SystemRandom().randrange(10**9)
    steps, seeds = Counter[str](), 0
    for number in [seed] if seed is not None else itertools.count(first):
        for name, mode in MODES.items():
            try:
                steps[name] += Torment(number, mode=mode).run()
            except Violation as violation:
                raise Violation(f"seed {number}, {name}: {violation}") from violation
        seeds += 1
        if monotonic() - began > seconds:
            break
    listed = "; ".join(f"{count} with {name}" for name, count in steps.items())
    print(f"{seeds} seeds, {steps.total()} steps in {monotonic() - began:.0f} s ({listed}): no violation")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
