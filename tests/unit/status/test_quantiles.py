"""Quantiles: the same from sorted runs as from all values sorted, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.quantiles import FEW, Runs, quantile_of, quantile_of_runs, sorted_run

TIMES = st.one_of(st.floats(0, 1e4), st.sampled_from([0.0, 0.001, 1.0, 30.0]))


@given(st.lists(st.lists(TIMES, max_size=40), max_size=8), st.floats(0, 1), st.integers(1, 20))
def test_searched_and_sorted_are_the_same(lists: list[list[float]], share: float, times: int) -> None:
    runs = [sorted_run(values * times) for values in lists]
    together = sorted(value for run in runs for value in run)
    assert quantile_of_runs(runs, share) == quantile_of(together, share)


def test_many_equal_values() -> None:
    runs = [sorted_run([0.0] * 5 * FEW), sorted_run([0.25] * FEW), sorted_run([7.0])]
    assert [quantile_of_runs(runs, share) for share in (0.5, 0.9, 1.0)] == [0.0, 0.25, 7.0]


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.5, 5), (0.51, 6), (0.9, 9), (0.95, 10), (1, 10)])
def test_it_is_the_smallest_that_so_many_do_not_exceed(share: float, expected: int) -> None:
    assert quantile_of(range(1, 11), share) == expected


def test_of_nothing() -> None:
    assert (quantile_of([], 0.5), quantile_of_runs([], 0.5), quantile_of_runs([[], []], 0.5)) == (0, 0, 0)


@given(st.lists(st.lists(st.floats(0, 1000, width=32), max_size=30)), st.integers(1, 40))
def test_runs_keep_all_values_in_order(batches: list[list[float]], longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faucet.status.quantiles.RUN", longest)
        runs = Runs()
        for values in batches:
            runs.add(sorted(values))
        every = sorted(value for values in batches for value in values)
        assert runs.count == len(every)
        assert sorted(value for run in runs.runs for value in run) == every
        assert all(list(run) == sorted(run) for run in runs.runs)
        assert quantile_of_runs(runs.runs, 0.95) == quantile_of(every, 0.95)
        runs.close()
        assert sorted(value for run in runs.runs for value in run) == every
