"""Which workers are replaced before they fail: pure decisions."""

from __future__ import annotations

import os
from itertools import product
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.settings import WorkerSettings
from faucet.workers.causes import Reason
from faucet.workers.recycle import FEW_REQUESTS, TOO_LARGE_IN_A_ROW, Condition, OwnMemory, Size, judge_size, why_replace

MIB = 1 << 20
FINE = Condition(healthy=True, age=60.0, served=5, jitter=1.0, rss=100 * MIB, size=Size.FITS)


def reason(worker: Condition, limits: WorkerSettings) -> Reason | None:
    cause = why_replace(worker, limits)
    return cause.reason if cause is not None else None


@pytest.mark.parametrize(
    ("changed", "limits", "why"),
    [
        ({}, {}, None),
        ({"age": 1e9, "served": 10**9}, {}, None),
        ({"healthy": False}, {}, (Reason.UNHEALTHY, "replaced since it is unhealthy")),
        ({"age": 61.0}, {"max_age": 60.0}, (Reason.MAX_AGE, "replaced after 61s (--max-age)")),
        ({"age": 60.0}, {"max_age": 60.0}, None),
        ({"age": 55.0, "jitter": 0.9}, {"max_age": 60.0}, (Reason.MAX_AGE, "replaced after 55s (--max-age)")),
        ({"served": 10}, {"max_requests": 10}, (Reason.MAX_REQUESTS, "replaced after 10 requests (--max-requests)")),
        ({"served": 9}, {"max_requests": 10}, None),
        ({"served": 9, "jitter": 0.9}, {"max_requests": 10}, (Reason.MAX_REQUESTS, "9 requests")),
        ({"size": Size.GROWN}, {"max_rss": MIB}, (Reason.MAX_RSS, "replaced at 100MiB, ")),
        ({"size": Size.TOO_LARGE}, {"max_rss": MIB}, (Reason.MAX_RSS, "(--max-rss)")),
        ({"size": Size.HOPELESS}, {"max_rss": MIB}, None),
        ({"size": Size.UNKNOWN}, {"max_rss": MIB}, None),
        ({"healthy": False, "age": 61.0}, {"max_age": 60.0}, (Reason.UNHEALTHY, "")),
    ],
)
def test_why_a_worker_is_replaced(
    changed: dict[str, object], limits: dict[str, object], why: tuple[Reason, str] | None
) -> None:
    fields = {name: getattr(FINE, name) for name in Condition.__slots__}
    cause = why_replace(Condition(**{**fields, **changed}), WorkerSettings(**limits))  # type: ignore[arg-type]
    if why is None:
        assert cause is None
    else:
        assert cause is not None
        assert cause.reason is why[0]
        assert why[1] in cause.text


def test_without_limits_only_an_unhealthy_worker_is_replaced() -> None:
    """Over all combinations of the rest; `judge_size` is not asked without a limit."""
    unlimited = WorkerSettings()
    for healthy, age, served in product((True, False), (0.0, 1e9), (0, 10**9)):
        worker = Condition(healthy, age, served, 1.0, 0, Size.UNKNOWN)
        assert reason(worker, unlimited) is (None if healthy else Reason.UNHEALTHY)


@given(
    rss=st.integers(0, 4),
    limit=st.integers(1, 3),
    served=st.integers(0, FEW_REQUESTS + 2),
    fitted=st.booleans(),
    too_large=st.integers(1, TOO_LARGE_IN_A_ROW + 2),
)
def test_the_size_of_a_worker(rss: int, limit: int, served: int, fitted: bool, too_large: int) -> None:
    size = judge_size(rss, limit, served, fitted, too_large)
    assert (size is Size.UNKNOWN) == (rss == 0)
    assert (size is Size.FITS) == (0 < rss <= limit)
    if rss > limit:
        grown = fitted and served > FEW_REQUESTS
        assert (size is Size.GROWN) == grown
        if not grown:
            assert (size is Size.HOPELESS) == (served == 0 or too_large > TOO_LARGE_IN_A_ROW)


@given(st.integers(0, 10), st.integers(1, 10), st.integers(0, 10), st.integers(1, 5))
def test_a_worker_that_fitted_before_is_never_worse_off(rss: int, limit: int, served: int, too_large: int) -> None:
    """What was seen within the limit shows that the limit makes sense."""
    order = [Size.UNKNOWN, Size.FITS, Size.GROWN, Size.TOO_LARGE, Size.HOPELESS]
    judged = [order.index(judge_size(rss, limit, served, fitted, too_large)) for fitted in (True, False)]
    assert judged[0] <= judged[1]


async def test_what_is_a_workers_own_is_measured_now_and_then() -> None:
    process = SimpleNamespace(pid=os.getpid())
    living, dead = (cast("Any", Living(process, alive)) for alive in (True, False))
    own = OwnMemory()
    assert own.due
    assert own.of(living) == 0
    await own.measure([living, dead])
    assert 0 < own.of(living) <= psutil.Process().memory_info().rss * 1.1
    assert own.of(dead) == 0
    assert not own.due


class Living:
    """An instance, as far as its memory is concerned."""

    def __init__(self, process: object, alive: bool) -> None:
        self.process, self.alive = process, alive
