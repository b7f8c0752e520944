"""The outlook of the queue: when each request gets a worker, and which get 503 before."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.queue import Held, Queued, outlook, start_text, starts, took_by_endpoint
from faucet.status.snapshot import LimitRow, RequestRow, WaitingRow
from tests.support.stage_picture import NOW, worker

SLEEP = {"GET /sleep": [4.0, 6.0]}


@pytest.mark.parametrize(
    ("held", "free", "queued", "expected"),
    [
        ([Held("GET /sleep", 1.0)], 0, [("GET /sleep", 0.0)], [4.0]),  # a mean of 5
        ([Held("GET /sleep", 5.0)], 0, [("GET /sleep", 0.0)], [1.0]),  # of those that took longer: 6
        ([Held("GET /sleep", 8.0)], 0, [("GET /sleep", 0.0)], [8.0]),  # longer than all: as long again
        ([Held("GET /sleep", 1.0)], 0, [("GET /sleep", 0.0)] * 3, [4.0, 9.0, 14.0]),
        ([Held("GET /sleep", 1.0)] * 2, 0, [("GET /new", 0.0)] * 3, [4.0, 4.0, 9.0]),
        ([Held("GET /sleep", 1.0, goes_on=False)], 0, [("GET /sleep", 0.0)], [None]),
        ([Held("GET /sleep", 1.0)], 1, [("GET /sleep", 0.0)] * 2, [0.0, 4.0]),
        ([Held("GET /sleep", 1.0)], 0, [("GET /sleep", 12.0), ("GET /sleep", 5.0)], [inf, 4.0]),
        ([], 0, [("GET /sleep", 0.0)], [None]),
    ],
)  # fmt: skip
def test_when_each_gets_a_worker(
    held: list[Held], free: int, queued: list[tuple[str, float]], expected: list[float | None]
) -> None:
    assert starts(held, free, [Queued(*each, 15.0) for each in queued], SLEEP) == expected


def test_without_any_finished_request_nothing_is_known() -> None:
    assert starts([Held("GET /sleep", 1.0)], 0, [Queued("GET /sleep", 0.0)], {}) == [None]


SECONDS = st.floats(0.0, 100.0)


@given(
    st.lists(SECONDS, min_size=1, max_size=8),
    st.lists(SECONDS, max_size=30).map(lambda waits: sorted(waits, reverse=True)),
    st.lists(SECONDS, min_size=1, max_size=20),
    st.floats(0.0, 60.0),
)
def test_it_is_first_come_first_served_and_no_wait_exceeds_the_limit(
    held: list[float], waited: list[float], took: list[float], timeout: float
) -> None:
    locks = [Held("a", seconds) for seconds in held]
    found = starts(locks, 0, [Queued("a", seconds, timeout or inf) for seconds in waited], {"a": took})
    served = [
        (start, seconds) for start, seconds in zip(found, waited, strict=True) if start is not None and start < inf
    ]
    assert [start for start, _ in served] == sorted(start for start, _ in served)
    assert all(start + seconds < timeout for start, seconds in served) or not timeout
    assert len(served) == len(waited) or timeout, "without a limit of time each is served"


def test_the_outlook_of_a_queue() -> None:
    rows = [
        worker("1", "busy", locked=NOW - 1, request="GET /sleep?t=5"),
        worker("2", "busy", locked=NOW - 1, request="GET /sleep?t=6"),
        worker("3", "draining", locked=NOW - 2, request="POST /train"),
        worker("4", "starting"),
    ]
    queue = [
        WaitingRow(NOW - 50 + n, "10.0.0.7" if n else "10.0.0.8", f"GET /sleep?t={n}", n + 1, 52.0) for n in range(4)
    ]
    done = [RequestRow(NOW - 9, "a", "GET", "/sleep?t=5", 200, 1, 1, 0.0, 5.0, "1", "")]
    view = outlook(queue, rows, [], 6, took_by_endpoint(done), NOW)
    assert [row.start for row in view.rows] == [inf, inf, inf, 4.0]
    assert [row.same_client for row in view.rows] == [1, 3, 3, 3]
    assert [start_text(row) for row in view.rows] == ["503", "503", "503", "~4.0s"]
    assert view.refused == 4, "of the two beyond the rows, one"
    assert view.summary(plain=True) == [
        ("the first waits 50.0s", False),
        ("about 4 will get 503, the first in 2.0s", True),
        ("empty in about 4.0s", False),
        ("held up by 2 x GET /sleep, 1 x POST /train", False),
    ]
    calm = outlook([queue[3]._replace(patience=120.0)], rows, [], 1, took_by_endpoint(done), NOW)
    assert calm.summary(plain=False)[0] == ("the first waits 47.0s of 2m, then 503", False)


def test_without_workers_it_says_so() -> None:
    view = outlook([WaitingRow(NOW - 1, "a", "GET /", 1)], [], [], 1, {}, NOW)
    assert view.summary(plain=True) == [("the first waits 1.0s", False), ("no worker is in service", True)]
    assert outlook([], [], [], 0, {}, NOW).summary(plain=True) == []


def test_who_waits_for_others_of_a_limit_is_not_in_the_way_of_the_rest() -> None:
    limit = LimitRow("GET /report", 2, 2, 3, 100, NOW - 9, 8.0, 0)
    queue = [WaitingRow(NOW - 9, "a", "GET /report", 1, 14.0, "GET /report"),
             WaitingRow(NOW - 8, "a", "GET /report", 2, 14.0, "GET /report"),
             WaitingRow(NOW - 7, "a", "GET /quick", 3, 60.0),
             WaitingRow(NOW - 6, "a", "GET /odd", 4, 0.0, "GET /odd")]  # fmt: skip
    rows = [worker("1", "busy", locked=NOW - 1, request="GET /quick")]
    view = outlook(queue, rows, [limit], 4, {"GET /quick": [3.0]}, NOW)
    assert [row.start for row in view.rows] == [4.0, inf, 2.0, None]
    assert view.refused == 1
