"""How many workers there should be: a pure decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faucet.settings import Span, WorkerSettings
from faucet.workers.autoscale import Load, wanted

SETTINGS = WorkerSettings(scale_up_after=2.0, scale_down_after=60.0)
QUIET = Load(workers=4, starting=False, waited=0.0, idle=0.0, last_held=False)

loads = st.builds(
    Load,
    workers=st.integers(1, 12),
    starting=st.booleans(),
    waited=st.sampled_from([0.0, 2.0, 2.1, 1e6]),
    idle=st.sampled_from([0.0, 60.0, 60.1, 1e6]),
    last_held=st.booleans(),
)
spans = st.tuples(st.integers(1, 10), st.integers(0, 5)).map(lambda pair: Span(pair[0], sum(pair)))


def test_a_queue_that_waits_gets_a_worker() -> None:
    load = QUIET
    assert wanted(load, Span(2, 8), SETTINGS) == 4
    waiting = Load(4, starting=False, waited=2.1, idle=0.0, last_held=False)
    assert wanted(waiting, Span(2, 8), SETTINGS) == 5
    assert wanted(waiting, Span(2, 4), SETTINGS) == 4
    starting = Load(4, starting=True, waited=2.1, idle=0.0, last_held=False)
    assert wanted(starting, Span(2, 8), SETTINGS) == 4, "the one that starts may be enough"


def test_a_worker_that_is_not_needed_ends() -> None:
    idle = Load(4, starting=False, waited=0.0, idle=60.1, last_held=False)
    assert wanted(idle, Span(2, 8), SETTINGS) == 3
    assert wanted(idle, Span(4, 8), SETTINGS) == 4
    held = Load(4, starting=False, waited=0.0, idle=60.1, last_held=True)
    assert wanted(held, Span(2, 8), SETTINGS) == 4, "somebody holds it for a reason"


@given(loads, spans)
def test_one_step_at_a_time_towards_the_limits_and_never_beyond(load: Load, span: Span) -> None:
    target = wanted(load, span, SETTINGS)
    assert abs(target - load.workers) <= 1
    if target > load.workers:
        assert target <= span.most
        assert load.waited > SETTINGS.scale_up_after
        assert not load.starting
    if target < load.workers:
        assert target >= span.least
        assert load.idle > SETTINGS.scale_down_after
        assert not load.last_held


@given(loads, st.integers(1, 10))
def test_a_fixed_number_stays_whatever_a_person_has_made_of_it(load: Load, count: int) -> None:
    assert wanted(load, Span(count, count), SETTINGS) == load.workers
