"""A slot with instances that do what a test wants: whatever the order, one of them serves, and none is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faucet.backoff import Backoff
from faucet.workers import slot as slot_module
from faucet.workers.causes import Cause, Reason
from faucet.workers.instance import State
from faucet.workers.program import Program
from faucet.workers.slot import PORT_TRIES, ReplaceError, Slot

CAUSE = Cause(Reason.ROLLING_RESTART, "rolling restart by a test")
AWAY = Cause(Reason.SCALE_DOWN, "scaled down by a test")
TURNS = 12
"""Turns of the loop after which everything has happened that follows from a step."""


class Script:
    """Plays an instance: it becomes ready, fails, finishes its request or exits when the test says so."""

    failure, shortage, healthy, holder, port_lost = "", "", True, None, False

    def __init__(self, stage: Stage, number: int, *_: object) -> None:
        stage.all.append(self)
        self.number = number
        self.began = stage.now
        self.state = State.STARTING
        self.ending: Cause | None = None
        self.backend: object | None = None
        self.process: Any = SimpleNamespace(last_lines=["a line"])
        self.output = None
        self.served_last = None
        self.held = False
        self.decided: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.drained = asyncio.Event()
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def in_service(self) -> bool:
        return self.state is State.READY

    @property
    def reason(self) -> Reason:
        return self.ending.reason if self.ending else Reason.EXIT

    @property
    def outcome(self) -> str:
        return f"stopped ({self.ending.text})" if self.ending else "crashed"

    async def start(self) -> bool:
        ready = await self.decided
        if not ready:
            self.failure = "" if self.port_lost else self.failure or "exited with code 1"
            self.state = State.OVER
        return ready

    def decide(self, ready: bool) -> None:
        if not self.decided.done():
            self.decided.set_result(ready)

    def enter_service(self, held: bool) -> None:
        self.state, self.backend, self.held = State.READY, object(), held

    def exit(self) -> None:
        self.drained.set()
        if self.backend is not None and not self.exited.done():
            self.state = State.OVER
            self.exited.set_result(None)

    def hold(self) -> None:
        self.held = True

    def resume(self) -> None:
        self.held = False

    async def retire(self, cause: Cause) -> None:
        self.ending = self.ending or cause
        self.state = State.DRAINING
        await self.drained.wait()
        self.exit()

    def stop_starting(self) -> None:
        self.decide(False)

    async def end(self, _: float) -> None:
        self.decide(False)
        self.exit()
        self.state = State.OVER


class Stage:
    """One slot, and all instances that it has ever had."""

    def __init__(self) -> None:
        self.now = 1.0
        self.all: list[Script] = []
        self.counted: list[str] = []
        self.replacing: list[asyncio.Task[None]] = []
        stats = SimpleNamespace(count_restart=self.counted.append, count_start_shortage=self.counted.append)
        context = SimpleNamespace(
            proxy=SimpleNamespace(stats=stats), settings=SimpleNamespace(max_restarts=3),
            program=cast("Program", SimpleNamespace(rscript=None)),
        )  # fmt: skip
        observer = SimpleNamespace(
            became_ready=lambda _: None, start_failed=lambda *_: None, short_of=lambda *_: None, ended=lambda _: None
        )
        self.slot = Slot(1, cast("Any", context), cast("Any", observer))
        self.living = asyncio.ensure_future(self.slot.live())

    @property
    def serving(self) -> list[Script]:
        return [script for script in self.all if script.in_service]

    @property
    def starting(self) -> list[Script]:
        return [script for script in self.all if script.state is State.STARTING]

    @property
    def draining(self) -> list[Script]:
        return [script for script in self.all if script.state is State.DRAINING]

    async def settle(self) -> None:
        self.now += 1
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def replace(self) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self.slot.replace(CAUSE))
        self.replacing.append(task)
        return task

    def check(self) -> None:
        """What must hold at any moment."""
        alive = [*self.serving, *self.starting, *self.draining]
        assert len(self.serving) <= 1
        assert len(self.starting) <= 1
        assert len(alive) <= 2
        assert {id(script) for script in alive} <= {id(instance) for instance in self.slot.instances}
        assert all(script.held == self.slot.held for script in self.serving)
        if self.draining and not self.slot.stopping:
            assert self.slot.being_replaced

    async def end(self) -> None:
        """Give the slot up; everything that is left ends in time."""
        await self.slot.end(0)
        async with asyncio.timeout(5):
            await self.living
            await asyncio.gather(*self.replacing, return_exceptions=True)
        assert not [*self.serving, *self.starting, *self.draining]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(slot_module, "BACKOFF", Backoff(1e-6, 1e-6))
    made = make_stage(monkeypatch.setattr)
    await made.settle()
    yield made
    await made.end()


def make_stage(patch: Callable[..., None]) -> Stage:
    stage = Stage.__new__(Stage)
    patch(slot_module, "Instance", lambda *arguments: Script(stage, *arguments))
    patch(slot_module, "monotonic", lambda: stage.now)
    stage.__init__()  # type: ignore[misc]
    return stage


async def test_a_crash_is_followed_by_another_start(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    stage.serving[0].exit()
    await stage.settle()
    assert (len(stage.starting), stage.counted, stage.slot.restarts) == (1, ["exit"], 1)
    assert [ended.text for ended in stage.slot.exits] == ["crashed"]


async def test_one_that_is_replaced_finishes_first(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    first = stage.serving[0]
    task = stage.replace()
    await stage.settle()
    assert first.in_service, "until the other is ready"
    stage.starting[0].decide(True)
    await stage.settle()
    assert stage.draining == [first]
    assert stage.serving != [first]
    assert not task.done()
    with caplog.at_level("INFO", "faucet"):
        first.drained.set()
        await task
    assert stage.counted == ["rolling_restart"]
    assert stage.slot.restarts == 0, "it was planned: only the metric has it"
    assert caplog.messages[-1] == "worker 1 stopped (rolling restart by a test)"


async def test_the_old_one_stays_if_the_new_one_fails(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    task = stage.replace()
    await stage.settle()
    stage.starting[0].decide(False)
    with pytest.raises(ReplaceError, match=r"exited with code 1\n  \| a line"):
        await task
    assert len(stage.serving) == 1
    assert not stage.counted


async def test_a_new_one_whose_port_was_taken_is_followed_by_another(stage: Stage) -> None:
    """Two Faucets had chosen the same free port: that is no reason to give up a rolling restart."""
    stage.starting[0].decide(True)
    await stage.settle()
    old = stage.serving[0]
    task = stage.replace()
    for _ in range(PORT_TRIES - 1):
        await stage.settle()
        stage.check()
        stage.starting[0].port_lost = True
        stage.starting[0].decide(False)
    await stage.settle()
    stage.starting[0].decide(True)
    await stage.settle()
    old.drained.set()
    await task
    assert stage.serving != [old]


async def test_a_first_one_whose_port_was_taken_fails_nobody_who_waits_for_it(stage: Stage) -> None:
    task = stage.replace()
    await stage.settle()
    stage.starting[0].port_lost = True
    stage.starting[0].decide(False)
    await stage.settle()
    assert not task.done()
    stage.starting[0].decide(True)
    await task
    assert len(stage.serving) == 1
    assert not stage.counted, "no worker has failed"


async def test_where_each_port_is_taken_the_old_one_stays(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    old = stage.serving[0]
    task = stage.replace()
    for _ in range(PORT_TRIES):
        await stage.settle()
        stage.starting[0].port_lost = True
        stage.starting[0].decide(False)
    with pytest.raises(ReplaceError, match="its port was taken by another process"):
        await task
    assert stage.serving == [old]


async def test_the_old_one_crashes_while_the_new_one_starts(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    task = stage.replace()
    await stage.settle()
    stage.serving[0].exit()
    await stage.settle()
    assert len(stage.all) == 2, "no third one: the new one is on its way"
    stage.starting[0].decide(True)
    await task
    assert len(stage.serving) == 1


async def test_the_old_one_crashes_and_the_new_one_fails(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    task = stage.replace()
    await stage.settle()
    stage.serving[0].exit()
    stage.starting[0].decide(False)
    with pytest.raises(ReplaceError):
        await task
    await stage.settle()
    assert len(stage.starting) == 1


async def test_the_new_one_crashes_while_the_old_one_drains(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    task = stage.replace()
    await stage.settle()
    stage.starting[0].decide(True)
    await stage.settle()
    stage.serving[0].exit()
    await stage.settle()
    assert (len(stage.draining), len(stage.starting)) == (1, 1), "nobody waits for the old one's request"
    stage.draining[0].drained.set()
    await task


async def test_those_that_ask_while_a_worker_starts_share_its_failure(stage: Stage) -> None:
    tasks = [stage.replace() for _ in range(5)]
    await stage.settle()
    stage.starting[0].decide(False)
    await stage.settle()
    assert all(isinstance(task.exception(), ReplaceError) for task in tasks)


async def test_one_that_was_started_after_the_request_is_what_was_wanted(stage: Stage) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    tasks = [stage.replace() for _ in range(3)]
    await stage.settle()
    stage.starting[0].decide(True)
    await stage.settle()
    stage.draining[0].drained.set()
    await asyncio.gather(*tasks)
    assert len(stage.all) == 2


async def test_one_that_is_scaled_away_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    closing = asyncio.ensure_future(stage.slot.close(AWAY))
    await stage.settle()
    with caplog.at_level("INFO", "faucet"):
        stage.draining[0].drained.set()
        await closing
        await stage.living
    assert caplog.messages == ["worker 1 stopped (scaled down by a test)"]
    assert not stage.counted, "it is no restart"


@pytest.mark.parametrize("reason", [Reason.KILL, Reason.HUNG, Reason.EXIT])
async def test_a_restart_is_counted_by_what_ended_the_process(stage: Stage, reason: Reason) -> None:
    stage.starting[0].decide(True)
    await stage.settle()
    stage.serving[0].ending = Cause(reason, "a text that nobody parses: rolling restart --max-rss")
    stage.serving[0].exit()
    await stage.settle()
    stage.starting[0].ending = None
    stage.starting[0].decide(False)
    await stage.settle()
    assert stage.counted == [reason.value, "exit"], "of this process, not of the one before"


STEPS: dict[str, Callable[[Stage], object]] = {
    "ready": lambda stage: [script.decide(True) for script in stage.starting],
    "fail": lambda stage: [script.decide(False) for script in stage.starting],
    "crash": lambda stage: [script.exit() for script in stage.serving],
    "drained": lambda stage: [script.drained.set() for script in stage.draining],
    "crash while draining": lambda stage: [script.exit() for script in stage.draining],
    "replace": lambda stage: stage.replace(),
    "hold": lambda stage: stage.slot.hold(),
    "resume": lambda stage: stage.slot.resume(),
    "try now": lambda stage: stage.slot.try_now(),
}

OFTEN = [*sorted(STEPS), "ready", "ready", "ready", "replace", "replace"]


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(OFTEN), st.booleans()), max_size=40), closed=st.booleans())
def test_whatever_happens_one_serves_and_none_is_forgotten(steps: list[tuple[str, bool]], closed: bool) -> None:
    async def play() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slot_module, "BACKOFF", Backoff(1e-9, 1e-9))
            patch.setattr(slot_module, "FAILED_BACKOFF", Backoff(1e-9, 1e-9))
            stage = make_stage(patch.setattr)
            for name, at_once in steps:
                STEPS[name](stage)
                if not at_once:  # else the next one comes in the same turn of the loop
                    await stage.settle()
                    stage.check()
            if closed:
                closing = asyncio.ensure_future(stage.slot.close(AWAY))
                await stage.settle()
                stage.check()
                for script in stage.draining:
                    script.drained.set()
                await closing
            await stage.end()

    asyncio.run(play())
