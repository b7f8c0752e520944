"""One process in service: what its pool is told when it cannot be reached, and when it has exited."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from faucet.workers.context import SlotLog
from faucet.workers.instance import Instance, State
from tests.support.waiting import when


class Process:
    """One that exits when the test says so, and leaves nothing."""

    pid, peak, how_it_ended = 7, 0, "exited with code 1"
    signals = frozenset[int]()

    def __init__(self) -> None:
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.buried = asyncio.Event()

    async def output_ended(self) -> None:
        await self.buried.wait()


class Stage:
    """An instance in service whose pool notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        pool = SimpleNamespace(**{name: self.note(name) for name in ("add", "hold", "resume", "remove")}, stats=None)
        proxy = SimpleNamespace(pool=pool, clients=SimpleNamespace(worker_exited=lambda _: None))
        context = SimpleNamespace(proxy=proxy, served=lambda _: 0, settings=SimpleNamespace(startup_timeout=1.0))
        self.instance = Instance(1, cast("Any", context), SlotLog(1))
        self.process = Process()
        self.instance.process = cast("Any", self.process)
        self.instance.readiness = cast("Any", SimpleNamespace(host="127.0.0.1", accepts=self.accepts))
        self.process.exited.add_done_callback(lambda _: self.instance._exit_noted(cast("Any", self.process)))
        self.instance.enter_service(held=False)

    def note(self, name: str) -> Any:
        def called(backend: Any, **_: bool) -> None:
            self.told.append(name)
            if self.told == ["add", "resume"]:
                backend.on_unreachable(ConnectionRefusedError())  # again, and at once

        return called

    async def accepts(self, _: float) -> bool:
        return not self.process.exited.done()


async def test_one_that_cannot_be_reached_again_as_soon_as_it_could_is_not_forgotten() -> None:
    stage = Stage()
    assert stage.instance.backend is not None
    stage.instance.backend.on_unreachable(ConnectionRefusedError())
    await when(lambda: stage.told == ["add", "resume", "resume"])
    await stage_ends(stage)


async def test_one_that_has_exited_gets_no_request_and_is_not_ready_though_its_children_live() -> None:
    stage = Stage()
    await asyncio.sleep(0)
    stage.process.exited.set_result(1)
    await when(lambda: "remove" in stage.told)
    assert stage.told == ["add", "hold", "remove"], "held as soon as the exit is known"
    assert stage.instance.state is State.DRAINING
    assert not stage.instance.in_service
    await stage_ends(stage)


async def stage_ends(stage: Stage) -> None:
    if not stage.process.exited.done():
        stage.process.exited.set_result(1)
    stage.process.buried.set()
    async with asyncio.timeout(5):
        await stage.instance.exited
    assert stage.instance.state is State.OVER
