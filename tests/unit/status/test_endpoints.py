"""What each endpoint takes: nothing is counted twice, nothing is lost, and clients cannot fill the memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.proxy.stats import RING_SIZE, Record, Stats
from faucet.status.endpoint_columns import bar, counted_in, endpoint_columns
from faucet.status.endpoints import KEPT, NAMES, OTHER, Endpoints
from faucet.status.history import LONGEST, STEP
from faucet.status.quantiles import quantile_of
from faucet.status.snapshot import EndpointRow

BEGAN = 1_800_000_000.0


def record(target: str = "/", ended: float = BEGAN, status: int = 200, **more: object) -> Record:
    values = {"waited": 0.1, "service": 0.5, "worker": "1", "note": ""} | more
    return Record(ended, "10.0.0.7", b"GET", target.encode(), 1, status, 10, 10, **values)  # type: ignore[arg-type]


def rows(endpoints: Endpoints, now: float = BEGAN) -> dict[str, EndpointRow]:
    return {row.endpoint: row for row in endpoints.rows(now)[0]}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.001, 100), st.sampled_from([200, 500])), min_size=1))
def test_the_figures_are_those_of_the_records(served: list[tuple[str, float, int]]) -> None:
    endpoints = Endpoints()
    endpoints.add(record(f"/{name}", BEGAN + n / 10, status, service=took) for n, (name, took, status) in
                  enumerate(served))  # fmt: skip
    shown = rows(endpoints, BEGAN + 60)
    assert sum(row.requests for row in shown.values()) == len(served)
    assert sum(row.share for row in shown.values()) == pytest.approx(1, abs=1e-4)
    for name in {name for name, _, _ in served}:
        mine = sorted(took for other, took, _ in served if other == name)
        row = shown[f"GET /{name}"]
        assert row.held == pytest.approx(sum(mine), abs=1e-4)
        assert row.slowest == pytest.approx(mine[-1], abs=1e-5)
        assert row.errors == sum(status == 500 for other, _, status in served if other == name)
        assert row.waited == pytest.approx(0.1)
        assert (row.p50, row.p95) == pytest.approx((quantile_of(mine, 0.5), quantile_of(mine, 0.95)), abs=1e-5)
        assert row.p50 <= row.p95 <= row.slowest + 1e-6


def test_the_endpoint_that_held_most_is_the_first() -> None:
    endpoints = Endpoints()
    endpoints.add([record("/often", service=0.1)] * 10 + [record("/slow", service=3.0)])
    found, _ = endpoints.rows(BEGAN)
    assert [(row.endpoint, row.share) for row in found] == [("GET /slow", 0.75), ("GET /often", 0.25)]


def test_what_holds_a_lock_now_counts_for_as_long_as_it_has() -> None:
    endpoints = Endpoints()
    endpoints.add([record("/quick", service=1.0)])
    found, _ = endpoints.rows(BEGAN, LONGEST, [(record("/slow?s=60", status=0), 9.0), (record("/quick"), 2.0)])
    assert [(row.endpoint, row.requests, row.held) for row in found] == [("GET /slow", 0, 9.0), ("GET /quick", 1, 3.0)]
    assert list(endpoints.totals) == ["GET /quick"]


def test_names_that_clients_invent_are_not_kept() -> None:
    endpoints = Endpoints()
    endpoints.add(record(f"/wp-{'x' * n}", status=404) for n in range(1, 300))
    endpoints.add([record("/never-served", status=503, worker="", service=0.0)])
    assert list(endpoints.totals) == [OTHER]
    endpoints.add([record("/here"), record("/here", status=404), record("/here", status=503, worker="")])
    assert endpoints.totals["GET /here"].requests == 3
    endpoints.add(record(f"/p{'x' * n}", ended=BEGAN + n) for n in range(1, 900))
    assert len(endpoints.totals) <= NAMES
    assert all(len(tallies) <= NAMES for _, tallies in endpoints._slices)
    assert sum(tally.requests for tally in endpoints.totals.values()) == 299 + 1 + 3 + 899


def test_what_is_older_is_in_the_totals_only() -> None:
    endpoints = Endpoints()
    for minute in range(40):
        endpoints.add([record(ended=BEGAN + 60 * minute)])
    now = BEGAN + 60 * 39
    found, seconds = endpoints.rows(now)
    assert [row.requests for row in found] == [LONGEST / 60 + 1]
    assert seconds <= LONGEST
    assert endpoints.totals["GET /"].requests == 40
    assert [row.requests for row in endpoints.rows(now, 60)[0]] == [2]
    assert endpoints.rows(now + 3600)[0] == [], "though nothing has come since"


def test_the_memory_is_bounded_and_the_window_shorter_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.status.endpoints.KEPT", KEPT // 20)
    endpoints = Endpoints()
    endpoints._began = BEGAN
    for number in range(30):
        endpoints.add([record(ended=BEGAN + number * STEP)] * 2_500)
    kept = sum(4 * len(tally.times) for _, tallies in endpoints._slices for tally in tallies.values())
    assert kept <= 1.1 * KEPT / 20
    found, seconds = endpoints.rows(BEGAN + 30 * STEP)
    assert 50 < seconds < 150
    assert found[0].requests == pytest.approx(seconds / STEP * 2_500)


def test_each_request_is_counted_once_and_those_that_were_missed_are_told() -> None:
    stats, endpoints = Stats(), Endpoints()
    for _ in range(10):
        stats.add(record())
    stats.settle()
    endpoints.follow(stats)
    endpoints.follow(stats)
    assert endpoints.totals["GET /"].requests == 10
    for _ in range(RING_SIZE + 24):
        stats.add(record())
    stats.settle()
    endpoints.follow(stats)
    assert (endpoints.totals["GET /"].requests, endpoints.uncounted) == (10 + RING_SIZE, 24)


def test_a_request_that_no_worker_had_holds_no_lock() -> None:
    endpoints = Endpoints()
    endpoints.add([record(), record(status=503, worker="", service=0.0, waited=9.9)])
    row = rows(endpoints)["GET /"]
    assert (row.requests, row.errors, row.p50, row.held, row.waited) == (2, 1, 0.5, 0.5, 5.0)


def test_columns_are_hidden_where_there_is_no_room() -> None:
    assert [column.id for column in endpoint_columns(46)] == ["endpoint", "p95", "errors", "share"]
    assert {column.id for column in endpoint_columns(120)} == {column.id for column in endpoint_columns()}
    for width in range(46, 200):
        assert sum(column.width + 1 for column in endpoint_columns(width)) + 22 <= width


def test_bars() -> None:
    assert [bar(share, 4, plain=False) for share in (0, 0.001, 0.5, 0.53, 1)] == ["", "▏", "██", "██▏", "████"]
    assert [bar(share, 4, plain=True) for share in (0, 0.001, 0.5, 1)] == ["", "#", "##", "####"]


def test_what_is_missing_is_said() -> None:
    assert counted_in(900, 0) == "the last 15m00s"
    assert "1 request since the start came too fast" in counted_in(60, 1)
