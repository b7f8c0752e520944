"""The history: figures are exact and of one window, nothing is counted twice, and the memory is bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.proxy.stats import Stats
from faucet.status.history import HEAT_BOUNDS, KEPT, LONGEST, MINUTES, STEP, History, heat_of
from faucet.status.quantiles import quantile_of, quantile_of_runs
from tests.support.records import RECORD

BEGAN = 1_800_000_000.0


def serve(stats: Stats, *times: float, worker: str = "1", status: int = 200, waited: float = 0.0) -> None:
    for seconds in times:
        stats.add(replace(RECORD, worker=worker, status=status, service=seconds, waited=waited))


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("12"), st.floats(0.001, 100)), max_size=4), min_size=1, max_size=100),
    st.floats(STEP, 90),
)
def test_a_window_has_what_ended_in_it(seconds: list[list[tuple[str, float]]], asked: float) -> None:
    stats, history = Stats(), History(BEGAN)
    for second, served in enumerate(seconds):
        for worker, took in served:
            serve(stats, took, worker=worker)
        history.tick(stats, 0, 0, BEGAN + second)
    now = BEGAN + len(seconds) - 1
    window = history.window(asked, now)
    first = max(int((now - asked) // STEP) * STEP - BEGAN, 0)
    expected = [took for second, served in enumerate(seconds) if second >= first for _, took in served]
    for share in (0.5, 0.95, 1.0):
        found = quantile_of_runs(window.times(), share)
        assert found == pytest.approx(quantile_of(sorted(expected), share), rel=1e-6)
    assert stats.exchanges - window.since.exchanges == len(expected)
    assert sum(map(len, window.times("1"))) + sum(map(len, window.times("2"))) == len(expected)
    assert window.seconds <= asked + STEP + 1


def test_a_request_is_seen_at_once_and_counted_once() -> None:
    stats, history = Stats(), History(BEGAN)
    serve(stats, 0.5)
    for _ in range(3):
        history.follow(stats, BEGAN + 1)
        assert [list(run) for run in history.window(60, BEGAN + 1).times()] == [[0.5]]
    history.tick(stats, 1, 2, BEGAN + 1)
    assert list(history.seconds) == [(1, 0.5, 1, 2, 0)]


def test_rows_of_slices_and_of_minutes() -> None:
    stats, history = Stats(), History(BEGAN)
    for second in range(130):
        serve(stats, 0.1, 0.2, 2.0, waited=0.01)
        serve(stats, 0.3, status=500)
        stats.add(replace(RECORD, worker="", status=503, service=0.0, waited=5.0))
        history.tick(stats, 3, second, BEGAN + second)
    minutes = history.rows(60, 0, 99)
    assert [(row.when, row.requests, row.errors, row.refused) for row in minutes] == [
        (BEGAN, 300, 60, 60), (BEGAN + 60, 300, 60, 60)
    ]  # fmt: skip
    assert (minutes[0].p50, minutes[0].p95, minutes[0].slowest) == (0.2, 2.0, 2.0)
    assert (minutes[0].waited50, minutes[0].longest, minutes[0].locked, minutes[0].waiting) == (0.01, 5.0, 3, 59)
    assert sum(minutes[0].service_heat[1:]) == 240
    slices = history.rows(STEP, 0, 999)
    assert [row.when for row in slices] == [BEGAN + STEP * n for n in range(26)]
    assert sum(row.requests for row in slices) == 650
    assert history.rows(STEP, slices[3].when + STEP, 2) == slices[4:6]


def test_only_the_last_quarter_of_an_hour_and_the_last_day_are_kept() -> None:
    stats, history = Stats(), History(BEGAN)
    for number in range(MINUTES + 10):
        serve(stats, 0.1)
        history.tick(stats, 0, 0, BEGAN + 60 * number)
    assert len(history.minutes) == MINUTES
    assert len(history.slices) <= LONGEST / STEP + 2
    assert history.window(LONGEST, BEGAN + 60 * number).seconds <= LONGEST + STEP


def test_the_memory_is_bounded_and_the_window_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.status.history.KEPT", KEPT // 20)
    stats, history = Stats(), History(BEGAN)
    for number in range(12):
        serve(stats, *[0.25] * 5_000)
        history.tick(stats, 0, 0, BEGAN + STEP * number)
    assert sum(each.size for each in list(history.slices)[:-1]) <= KEPT // 20
    window = history.window(60, BEGAN + STEP * 11)
    assert window.seconds < 55
    assert stats.exchanges - window.since.exchanges == sum(map(len, window.times()))


def test_a_busy_second_is_added_little_by_little() -> None:
    """All of it at once stopped every request for tens of milliseconds."""
    stats, history = Stats(), History(BEGAN)
    taken: list[int] = []

    def follow() -> None:
        before = stats.exchanges
        history.follow(stats, BEGAN)
        taken.append(stats.exchanges - before)
        assert not any(stats.take_times())

    stats.on_times = follow
    serve(stats, *[0.25] * 20_000, 0.5)
    assert len(taken) == 20_001 // 1024
    assert max(map(len, history.window(60, BEGAN).times())) < 6_000
    history.tick(stats, 0, 0, BEGAN)
    assert sum(map(len, history.window(60, BEGAN).times())) == 20_001
    assert history.seconds[-1][:2] == (20_001, 0.25)


def test_a_clock_that_was_set_back() -> None:
    stats, history = Stats(), History(BEGAN)
    for when in (50, 20, 51):
        serve(stats, 1.0)
        history.tick(stats, 0, 0, BEGAN + when)
    assert [sum(row.service_heat[1:]) for row in history.rows(STEP, 0, 99)] == [0, 3]


@given(st.lists(st.floats(0, 1000)))
def test_heat(times: list[float]) -> None:
    runs = [sorted(times[::2]), sorted(times[1::2])]
    heat = heat_of(runs)
    assert sum(heat[1:]) == len(times)
    if times:
        first, counts = heat[0], heat[1:]
        for row, count in enumerate(counts, first):
            low = HEAT_BOUNDS[row - 1] if row else -1.0
            high = HEAT_BOUNDS[row] if row < len(HEAT_BOUNDS) else float("inf")
            assert count == sum(low < each <= high for each in times)
