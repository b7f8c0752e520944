"""Rows of workers: what a fleet tells, with the lock and the numbers that the proxy knows."""

from __future__ import annotations

from time import localtime, monotonic, strftime, time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.fleet import WorkerDetails, WorkerStatus
from faucet.proxy.stats import WorkerStats
from faucet.status.history import Counters, Slice, Window
from faucet.status.moments import epoch
from faucet.status.rows import worker_details, worker_row

BACKEND = cast("Any", object())
SLICE = Slice(1, Counters())
SLICE.add({"1": [0.5] * 6, "2": [9.0]}, [])
WINDOW = Window(60.0, 60.0, Counters(), [SLICE])


def proxy(locked_by: str = "") -> Any:
    """A proxy whose only backend is locked by the request of a client, or free."""
    account = SimpleNamespace(method=b"GET", target=b"/slow", client=locked_by, left_at=0.0)
    lease = SimpleNamespace(holder=SimpleNamespace(account=account), since=monotonic() - 5) if locked_by else None
    stats = WorkerStats()
    stats.by_class[2], stats.by_class[5] = 3, 1
    stats.recent.append((time() - 1, 0.5))
    dispatcher = SimpleNamespace(lease=lambda backend: lease if backend is BACKEND else None)
    return SimpleNamespace(pool=SimpleNamespace(dispatcher=dispatcher), stats=SimpleNamespace(workers={"1": stats}))


def status(state: str, **more: Any) -> WorkerStatus:
    return WorkerStatus(key="1", name="1", state=state, backend=more.pop("backend", BACKEND), **more)


@pytest.mark.parametrize(
    ("known", "locked", "shown"),
    [
        (status("ready"), False, ("ready", "")),
        (status("ready"), True, ("busy", "")),
        (status("held"), False, ("held", "no requests until resumed")),
        (status("held"), True, ("held", "")),
        (status("held", reason="also unreachable: refused"), False, ("held", "also unreachable: refused")),
        (status("draining", reason="restarted by ctl"), True, ("draining", "restarted by ctl")),
        (status("starting", backend=None, reason="waiting for port 1"), False, ("starting", "waiting for port 1")),
        (status("backoff", reason="exited with code 1"), False, ("backoff", "exited with code 1")),
    ],
)
def test_the_state_of_a_worker(known: WorkerStatus, locked: bool, shown: tuple[str, str]) -> None:
    row = worker_row(known, proxy("10.0.0.7" if locked else ""), WINDOW)
    assert (row.state, row.reason) == shown
    assert bool(row.locked) == locked


def test_a_worker_that_is_tried_again_says_when() -> None:
    again = monotonic() + 10
    row = worker_row(status("failed", reason="exited with code 1", next_try=again), proxy(), WINDOW)
    assert row.reason == f"exited with code 1; next try at {strftime('%H:%M:%S', localtime(epoch(again)))}"


def test_the_lock_and_the_numbers_come_from_the_proxy() -> None:
    row = worker_row(status("ready", counted_as="1", since=monotonic() - 60), proxy("10.0.0.7"), WINDOW)
    assert (row.request, row.client, row.requests, row.errors, row.p50, row.rps) == (
        "GET /slow",
        "10.0.0.7",
        4,
        1,
        0.5,
        0.1,
    )
    assert row.locked == pytest.approx(time() - 5, abs=1)
    assert row.since == pytest.approx(time() - 60, abs=1)


def test_requests_are_counted_with_one_status_of_a_worker_only() -> None:
    row = worker_row(status("draining"), proxy(), WINDOW)
    assert (row.requests, row.errors, row.rps, row.since) == (0, 0, 0.0, 0.0)


def test_details_are_those_of_the_fleet_with_the_row_and_the_service_times() -> None:
    details = worker_details(WorkerDetails(status("ready", counted_as="1"), {"facts": [["a", "b"]]}), proxy(), WINDOW)
    assert details["row"].state == "ready"
    assert (details["facts"], details["durations"]) == ([["a", "b"]], [0.5])
