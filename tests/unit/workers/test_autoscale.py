"""How many workers there should be: a pure decision."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from faucet.settings import Span, WorkerSettings
from faucet.workers.autoscale import Load, first, wanted

SETTINGS = WorkerSettings(scale_up_after=2.0, scale_down_after=60.0)
SPARE = WorkerSettings(scale_up_after=2.0, scale_down_after=60.0, spare=2, idle_timeout=300.0)
CALM = Load(workers=4, starting=0, free=1, waited=0.0, idle=0.0, quiet=0.0, last_held=False)

loads = st.builds(
    Load,
    workers=st.integers(0, 12),
    starting=st.integers(0, 2),
    free=st.integers(0, 4),
    waited=st.sampled_from([0.0, 2.0, 2.1, 1e6]),
    idle=st.sampled_from([0.0, 60.0, 60.1, 1e6]),
    quiet=st.sampled_from([0.0, 300.0, 600.1]),
    last_held=st.booleans(),
)
spans = (
    st.tuples(st.integers(0, 10), st.integers(0, 5)).map(lambda pair: Span(pair[0], sum(pair))).filter(lambda s: s.most)
)


def test_a_queue_that_waits_gets_a_worker() -> None:
    assert wanted(CALM, Span(2, 8), SETTINGS) == 4
    waiting = replace(CALM, free=0, waited=2.1)
    assert wanted(waiting, Span(2, 8), SETTINGS) == 5
    assert wanted(waiting, Span(2, 4), SETTINGS) == 4
    assert wanted(replace(waiting, starting=1), Span(2, 8), SETTINGS) == 4, "the one that starts may be enough"


def test_a_worker_that_is_not_needed_ends() -> None:
    idle = replace(CALM, idle=60.1)
    assert wanted(idle, Span(2, 8), SETTINGS) == 3
    assert wanted(idle, Span(4, 8), SETTINGS) == 4
    assert wanted(replace(idle, last_held=True), Span(2, 8), SETTINGS) == 4, "somebody holds it for a reason"


def test_some_are_ready_beside_those_that_are_busy() -> None:
    assert wanted(CALM, Span(2, 8), SPARE) == 5
    assert wanted(replace(CALM, free=0), Span(2, 8), SPARE) == 6
    assert wanted(replace(CALM, free=0), Span(2, 5), SPARE) == 5
    assert wanted(replace(CALM, starting=1), Span(2, 8), SPARE) == 4, "it will be free in a moment"
    assert wanted(replace(CALM, free=2), Span(2, 8), SPARE) == 4


def test_the_last_worker_may_sleep() -> None:
    last = Load(workers=1, starting=0, free=1, waited=0.0, idle=1e6, quiet=600.1, last_held=False)
    assert wanted(last, Span(0, 4), SETTINGS) == 0
    assert wanted(last, Span(1, 4), SETTINGS) == 1
    assert wanted(replace(last, quiet=600.0), Span(0, 4), SETTINGS) == 1
    assert wanted(replace(last, last_held=True), Span(0, 4), SETTINGS) == 1
    assert wanted(last, Span(0, 4), replace(SPARE, spare=1)) == 1, "one is to be ready"


def test_a_request_wakes_one_at_once() -> None:
    asleep = Load(workers=0, starting=0, free=0, waited=0.0, idle=0.0, quiet=1e6, last_held=False)
    assert wanted(asleep, Span(0, 4), SETTINGS) == 0
    assert wanted(replace(asleep, waited=0.001), Span(0, 4), SETTINGS) == 1


def test_how_many_are_started_at_first() -> None:
    assert [first(Span(*span), SETTINGS) for span in ((0, 4), (1, 1), (2, 8))] == [1, 1, 2]
    assert [first(Span(*span), SPARE) for span in ((0, 4), (0, 1), (3, 8))] == [2, 1, 3]


@given(loads, spans, st.sampled_from([SETTINGS, SPARE]))
def test_towards_the_limits_and_never_beyond(load: Load, span: Span, settings: WorkerSettings) -> None:
    target = wanted(load, span, settings)
    if target > load.workers:
        assert target <= span.most
        lacking = settings.spare - load.free - load.starting
        assert lacking > 0 or (target == load.workers + 1 and load.waited > 0 and not load.starting)
    if target < load.workers:
        assert target == load.workers - 1 >= span.least
        assert load.idle > settings.scale_down_after or (target == 0 and load.quiet > settings.idle_timeout)
        assert not load.last_held


@given(loads, st.integers(1, 10))
def test_a_fixed_number_stays_whatever_a_person_has_made_of_it(load: Load, count: int) -> None:
    assert wanted(load, Span(count, count), SETTINGS) == load.workers
