"""The rules of several Faucets for one service, tormented: invariants I1 to I5, and the rules broken on purpose."""

from __future__ import annotations

import re
from itertools import chain

import pytest

from tests.support.ha_found import SEEDS, find
from tests.support.ha_modes import PLAIN, STRICT, STRICT_SERVE, Mode
from tests.support.ha_mutants import MUTANTS
from tests.support.ha_sim import Torment, run_seeds
from tests.support.ha_world import SLOWEST

STEPS = 100_000
"""Of each mode: five seconds or so; `just ha-sim` runs for as long as you like."""

QUICK = 20_000


def test_the_invariants_hold_in_a_few_histories() -> None:
    assert run_seeds(range(10_000, 20_000), steps=QUICK) >= QUICK


@pytest.mark.parametrize("mode", [STRICT, STRICT_SERVE], ids=["stop", "serve"])
def test_they_hold_with_strict_pods_too_though_members_are_frozen_before_they_send(mode: Mode) -> None:
    assert run_seeds(range(10_000, 20_000), lambda seed: Torment(seed, mode=mode), steps=QUICK) >= QUICK


@pytest.mark.slow
@pytest.mark.parametrize("mode", [PLAIN, STRICT, STRICT_SERVE], ids=["plain", "strict", "strict-serve"])
def test_the_invariants_hold_whatever_happens(mode: Mode) -> None:
    assert run_seeds(range(10_000), lambda seed: Torment(seed, mode=mode), steps=STEPS) >= STEPS


@pytest.mark.parametrize("seed", range(3))
def test_strict_pods_are_put_to_the_test(seed: int) -> None:
    """Two members grant at the same time, and pods refuse: the invariants would not hold without them."""
    refused = 0
    for number in range(seed * 10, seed * 10 + 10):
        torment = Torment(number, ("newcomer", "freeze", "partition"), STRICT_SERVE)
        torment.run()
        refused += sum(pod.refused for pod in torment.cluster.pod.values())
    assert refused


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_found(name: str) -> None:
    """By the seed that found it before; if the simulation has changed, by another. `just ha-mutants` begins at 0."""
    mutant = MUTANTS[name]
    assert re.search(r"I\d: ", find(mutant, chain([mutant.seed], SEEDS)))


def calm(seed: int, *faults: str) -> Torment:
    """A world in which nothing goes wrong by itself."""
    torment = Torment(seed, faults or ("nothing",))
    torment.cluster.api.slow_share = torment.cluster.api.lost_share = 0.0
    torment.cluster.link_delay = 0.02
    return torment


@pytest.mark.parametrize("seed", range(20))
def test_planned_changes_cost_no_request_and_less_than_a_second(seed: int) -> None:
    torment = calm(seed, "roll", "handover")
    torment.run()
    outcomes = {request.outcome for request in torment.cluster.requests}
    assert outcomes == {"answered"}
    beginnings = [moment for moment, _ in torment.cluster.takeovers]
    assert len(torment.cluster.endings) > 3
    for moment, _ in torment.cluster.endings:
        assert min(after for after in beginnings if after > moment) - moment < 1.0


@pytest.mark.parametrize("how", ["silent", "refused", "deaf"])
@pytest.mark.parametrize("seed", range(20))
def test_an_api_that_is_gone_for_all_stops_nobody(seed: int, how: str) -> None:
    """I5, for as long as promises may stand in for renewals."""
    torment = calm(seed)
    torment.world.run(25.0)
    (active,) = [node for node in torment.cluster.nodes if node.allowed_epoch()]
    endings = list(torment.cluster.endings)
    for node in torment.cluster.nodes:
        torment.cluster.api.cut[torment.cluster.api_key(node)] = how
    torment.world.run(36.0)
    assert torment.cluster.endings == endings
    torment.cluster.api.cut.clear()
    torment.world.run(60.0)
    assert torment.cluster.endings == endings
    assert active.allowed_epoch()


@pytest.mark.parametrize("seed", range(20))
def test_an_active_without_the_api_hands_over_to_one_that_has_it(seed: int) -> None:
    """Its deadline, and a moment: nobody has to wait for the Lease to run out."""
    torment = calm(seed)
    torment.world.run(25.0)
    (active,) = [node for node in torment.cluster.nodes if node.allowed_epoch()]
    torment.cluster.api.cut[torment.cluster.api_key(active)] = "silent"
    torment.world.run(25.0 + 7.5 / SLOWEST)
    (other,) = [node for node in torment.cluster.nodes if node.allowed_epoch()]
    assert other is not active


@pytest.mark.parametrize(("restarts", "limit"), [(True, 3.0), (False, 13.0)])
@pytest.mark.parametrize("seed", range(20))
def test_a_crash_is_followed_by_a_take_over(seed: int, restarts: bool, limit: float) -> None:
    torment = calm(seed)
    torment.world.run(25.0)
    (active,) = [node for node in torment.cluster.nodes if node.allowed_epoch()]
    active.die()
    if restarts:
        torment.cluster.start(active.election.me.name, active.election.me.uid)
    torment.world.run(25.0 + limit / SLOWEST)
    assert [node for node in torment.cluster.nodes if node.alive and node.allowed_epoch()]
