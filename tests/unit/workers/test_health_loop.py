"""When a worker is checked, and what follows from the results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.workers import health
from faucet.workers.causes import Cause, Reason
from faucet.workers.context import SlotLog
from faucet.workers.health import FAILURES_LIMIT, Hung, Unhealthy, watch_health

Result = bool | Exception


class Patient:
    """An instance in service whose checks have the results that a test wants."""

    def __init__(self, results: list[Result], monkeypatch: pytest.MonkeyPatch) -> None:
        self.results = results
        self.in_service, self.backend, self.healthy = True, object(), True
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.killed: Cause | None = None
        self.pauses: list[float] = []
        self.seen: list[bool] = []
        """Whether it was healthy when each check came."""
        monkeypatch.setattr(health, "check", self.check)
        monkeypatch.setattr(health, "_exits_within", self.exits_within)

    async def check(self, *_: object) -> bool:
        self.seen.append(self.healthy)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def exits_within(self, _: object, seconds: float) -> bool:
        self.pauses.append(seconds)
        return not self.results or self.killed is not None

    def kill(self, cause: Cause) -> None:
        self.killed = cause


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    async def run(*results: Result, in_service: bool = True) -> Patient:
        patient = Patient(list(results), monkeypatch)
        patient.in_service = in_service
        context = SimpleNamespace(proxy=None, settings=SimpleNamespace(health_path="/health", health_interval=30.0))
        async with asyncio.timeout(5):
            await watch_health(cast("Any", patient), cast("Any", context), SlotLog(1))
        return patient

    return run


ILL = Unhealthy("GET /health was answered with 500")


async def test_the_interval_counts_from_the_end_of_a_check(watch: Callable[..., Any]) -> None:
    patient = await watch(True, True)
    assert patient.pauses == [health.AGAIN_AFTER, 30.0, 30.0]


async def test_a_busy_worker_is_checked_as_soon_as_it_is_idle(watch: Callable[..., Any]) -> None:
    patient = await watch(False, False, True)
    assert patient.pauses == [health.AGAIN_AFTER] * 3 + [30.0]


async def test_failures_in_a_row_make_a_worker_unhealthy(
    watch: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    patient = await watch(*[ILL] * FAILURES_LIMIT)
    assert patient.seen == [True] * FAILURES_LIMIT
    assert not patient.healthy
    assert caplog.messages[-1] == f"worker 1: unhealthy, 3 of {FAILURES_LIMIT}: GET /health was answered with 500"


async def test_a_good_answer_makes_it_healthy_again(watch: Callable[..., Any]) -> None:
    patient = await watch(ILL, ILL, True, ILL, ILL, False, True, *[ILL] * 3, True)
    assert patient.seen == [True] * 10 + [False]
    assert patient.healthy


async def test_a_hung_worker_is_killed(watch: Callable[..., Any]) -> None:
    patient = await watch(Hung("did not answer"), True)
    assert patient.killed is not None
    assert patient.killed.reason is Reason.HUNG
    assert len(patient.seen) == 1


async def test_a_real_exit_ends_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a worker that is leaving gets none."""
    monkeypatch.setattr(health, "AGAIN_AFTER", 0.001)
    exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    leaving = SimpleNamespace(in_service=False, backend=object(), exited=exited, healthy=True)
    context = SimpleNamespace(proxy=None, settings=None)
    watching = asyncio.ensure_future(watch_health(cast("Any", leaving), cast("Any", context), SlotLog(1)))
    await asyncio.sleep(0.02)
    assert not watching.done()
    exited.set_result(None)
    async with asyncio.timeout(5):
        await watching
