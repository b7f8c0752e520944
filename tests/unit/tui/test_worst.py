"""The worst of the last minute in one line."""

from __future__ import annotations

from typing import Any

import pytest

from faucet.status.snapshot import LogRow, RequestRow
from faucet.tui.model import Model
from faucet.tui.worst import worst_of
from tests.support.screen import Open, redrawn
from tests.support.stage_picture import NOW, TOTALS, snapshot, worker


def request(target: str, status: int, ago: float = 1.0, note: str = "") -> RequestRow:
    return RequestRow(NOW - ago, "10.0.0.7", "GET", target, status, 1, 1, 0.0, 0.1, "1", note)


def worst(monkeypatch: pytest.MonkeyPatch, **told: Any) -> tuple[str, str]:
    monkeypatch.setattr(Model, "now", lambda self: NOW)
    model = Model()
    workers = {row.key: row for row in told.get("workers", ())}
    model.apply(snapshot(workers=workers, queue=[]))
    model.requests.extend(told.get("requests", ()))
    model.events.extend(told.get("events", ()))
    return worst_of(model, 10.0, plain=False)


def test_failures_come_first_and_the_endpoint_that_failed_most(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [request("/old", 500, ago=61), *[request(f"/boom/{n}", 500, note="why") for n in range(3)],
                request("/else", 502), request("/fine", 200)]  # fmt: skip
    events = [LogRow(NOW - 2, "error", "2", "worker 2 crashed")]
    assert worst(monkeypatch, requests=requests, events=events) == ("500 GET /boom/<n>  ×3  why", "error")
    assert worst(monkeypatch, requests=requests[-2:], events=events)[0] == "502 GET /else"


def test_then_trouble_then_the_longest_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [worker(name, "busy", locked=NOW - ago, request=f"GET /{name}") for name, ago in (("1", 11), ("2", 31))]
    events = [LogRow(NOW - 2, "warning", "2", "worker 2: restart"), LogRow(NOW - 1, "info", "", "hello")]
    assert worst(monkeypatch, workers=busy, events=events) == ("worker 2: restart", "warning")
    old = [LogRow(NOW - 70, "error", "", "long ago")]
    assert worst(monkeypatch, workers=busy, events=old) == ("worker 2: GET /2 for 31.0s", "warning")
    assert worst(monkeypatch, workers=busy[:0]) == ("", "text")


@pytest.mark.parametrize("size", [(50, 12), (40, 9)])
async def test_few_lines_keep_state_rate_queue_and_the_worst(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, _, runtime):
        runtime.tell(snapshot(totals=TOTALS._replace(waiting=11)))
        text = await redrawn(app, _)
        assert "● serving" in text
        assert "12.1/s  queue 11" in text
        assert "✖ 502 GET /score" in text
        assert "1 ● busy" in text
        assert "? Help" in text
