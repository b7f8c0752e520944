"""What if: the same as an ideal queue; more workers never make anybody wait longer; and how the monitor says it."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.quantiles import quantile_of
from faucet.status.snapshot import RequestRow
from faucet.tui.heat_view import HeatView
from faucet.tui.screens import TextScreen
from faucet.tui.what_if import Job, forecast_text, jobs_of, outcomes, replayed, sentence
from tests.support.goldens import compare
from tests.support.screen import Open, keys, redrawn, screen_text
from tests.support.stage_picture import NOW

JOBS = st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 5)), min_size=1, max_size=60)


def waits(jobs: list[Job], workers: int) -> list[float]:
    """As an ideal FIFO queue would have them, in ascending order."""
    free = [0.0] * workers
    found = []
    for job in jobs:
        start = max(job.arrived, heapq.heappop(free))
        heapq.heappush(free, start + job.service)
        found.append(start - job.arrived)
    return sorted(found)


@given(JOBS, st.integers(1, 6))
def test_it_is_an_ideal_queue(jobs: list[tuple[float, float]], workers: int) -> None:
    ordered = sorted(Job(*job) for job in jobs)
    expected = waits(ordered, workers)
    found = replayed(ordered, workers, 1000)
    assert found.p95 == pytest.approx(quantile_of(expected, 0.95), abs=1e-6)
    assert found.longest == pytest.approx(expected[-1], abs=1e-6)
    assert found.refused == 0
    assert found.busy <= 1.0001
    more = replayed(ordered, workers + 1, 1000)
    assert more.longest <= found.longest + 1e-6


def test_a_full_queue_and_the_queue_timeout_refuse() -> None:
    jobs = [Job(0.0, 10.0)] * 5
    assert replayed(jobs, 1, 2).refused == 2
    limited = replayed(jobs, 1, 100, queue_timeout=15.0)
    assert (limited.refused, limited.longest) == (3, 10.0)


def request(arrived: float, service: float, worker: str = "1", waited: float = 0.0, target: str = "/a") -> RequestRow:
    ended = arrived + waited + service
    return RequestRow(ended, "10.0.0.7", "GET", target, 200 if worker else 503, 1, 1, waited, service, worker, "")


def test_jobs_come_when_the_requests_came_and_refused_ones_take_what_is_usual() -> None:
    rows = [request(0, 2.0), request(1, 4.0, waited=1.0), request(3, 2.0), request(2, 0.0, worker="", waited=9.0),
            request(5, 0.0, worker="", target="/unknown")]  # fmt: skip
    assert jobs_of(rows) == [Job(0, 2.0), Job(1, 4.0), Job(2, 2.0), Job(3, 2.0)]


def crowded() -> list[RequestRow]:
    """A request of 0.9 seconds every 0.2 seconds: too many for four workers, enough for five."""
    return [request(NOW - 60 + 0.2 * n, 0.9, str(n % 4 + 1), waited=0.02 * n) for n in range(200)]


def test_what_is_said() -> None:
    found = outcomes(crowded(), 4, 1024)
    assert [each.workers for each in found] == [3, 4, 5, 6]
    assert found[2].p95 < 0.001 < found[1].p95 < found[0].p95
    assert sentence(found, plain=False) == "4 workers: p95 wait 4.7s → 18.9s with 3, 0 with 5, 0 with 6   W what if"
    assert sentence(found, plain=True).isascii()
    assert "in fact" in forecast_text(found, [0.5])
    assert outcomes(crowded()[:5], 4, 1024) == []
    assert [each.workers for each in outcomes(crowded(), 1, 1024)] == [1, 2, 3]
    assert sentence(outcomes(crowded(), 1, 1024), plain=False).startswith("1 worker: ")
    assert "Too few" in forecast_text([], [])


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12)])
async def test_by_key_mouse_and_palette(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        runtime.tell({"requests": crowded(), "skipped": 0})
        await keys(app, pilot, "7")
        await app._fetch_history()
        text = await redrawn(app, pilot)
        assert "workers: p95 wait" in text
        await pilot.click(HeatView, offset=(5, app.query_one(HeatView).size.height - 1))
        await app._show_what_if()
        await pilot.pause()
        assert isinstance(app.screen, TextScreen)
        if size[0] == 120:
            compare("what-if", screen_text(app))
        assert "WORKERS" in screen_text(app)
    async with opened(size) as (app, pilot, runtime):
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        assert "What if (what-if)" in commands
        await app._show_what_if()
        await pilot.pause()
        assert "Too few requests" in screen_text(app)
