"""Which template workers are forked from: one load for all who wait, renewed as a whole or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from faucet.fleet import StartFailed
from faucet.settings import LocalSettings
from faucet.workers import preload
from faucet.workers.preload import Preload, check_preload
from faucet.workers.program import Program
from faucet.workers.template import TemplateError


class FakeProcess:
    """Exits when it is stopped, or when a test wants it to."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stop_signals: list[int] = []
        self.how_it_ended = "was killed by SIGKILL"

    async def output_ended(self) -> None:
        await asyncio.wait([self.exited])


class FakeTemplate:
    """Loads in a turn of the loop; fails if it is told to."""

    made: list[FakeTemplate]
    broken: bool

    def __init__(self, *_: object) -> None:
        self.made.append(self)
        self.number = len(self.made)
        self.process = FakeProcess(self.number)
        self.began = self.ready_at = 0.0

    @property
    def alive(self) -> bool:
        return not self.process.exited.done()

    async def start(self, *_: object) -> None:
        await asyncio.sleep(0)
        if self.broken:
            self.process.exited.set_result(1)
            raise TemplateError("the template exited with code 1", cast("Any", self.process))

    async def stop(self) -> None:
        if self.alive:
            self.process.stop_signals.append(15)
            self.process.exited.set_result(-15)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def templates(monkeypatch: pytest.MonkeyPatch) -> type[FakeTemplate]:
    FakeTemplate.made, FakeTemplate.broken = [], False
    monkeypatch.setattr(preload, "Template", FakeTemplate)
    return FakeTemplate


def new() -> Preload:
    return Preload(cast("Any", None), LocalSettings(), cast("Any", None), lambda *_: None, lambda: 1)


async def test_there_is_one_load_for_all_who_wait(templates: type[FakeTemplate]) -> None:
    one = new()
    found = await asyncio.gather(*(one.template() for _ in range(8)))
    assert len(set(found)) == 1
    assert len(templates.made) == one.pid == 1


async def test_all_who_wait_are_told_of_a_failure_and_the_next_one_tries_again(templates: type[FakeTemplate]) -> None:
    one = new()
    templates.broken = True
    results = await asyncio.gather(*(one.template() for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["the template exited with code 1"] * 3
    assert one.failure == "the template exited with code 1"
    templates.broken = False
    assert (await one.template()).process is templates.made[1].process
    assert one.failure == ""


async def test_it_is_renewed_and_the_old_one_ends(templates: type[FakeTemplate]) -> None:
    one = new()
    await one.template()
    async with one.renewed():
        assert one.pid == 2
        assert templates.made[0].alive, "it is used again if the body fails"
    assert [template.alive for template in templates.made] == [False, True]


async def test_if_the_body_fails_the_old_one_is_back(templates: type[FakeTemplate]) -> None:
    one = new()
    await one.template()
    with pytest.raises(ValueError, match="no"):
        async with one.renewed():
            raise ValueError("no")
    assert one.pid == 1
    assert [template.alive for template in templates.made] == [True, False]


async def test_if_the_new_one_has_ended_and_the_body_fails_only_the_old_one_is_left(
    templates: type[FakeTemplate],
) -> None:
    one = new()
    await one.template()
    roll = one.renewed()
    await roll.__aenter__()
    templates.made[1].process.exited.set_result(-9)
    for _ in range(10):
        await asyncio.sleep(0)
    assert one.pid == 3
    error = ValueError("a worker's replacement fails")
    assert not await roll.__aexit__(ValueError, error, None)
    assert one.pid == 1
    assert [template.alive for template in templates.made] == [True, False, False]


async def test_if_the_new_one_fails_nothing_changes(templates: type[FakeTemplate]) -> None:
    one = new()
    await one.template()
    templates.broken = True
    with pytest.raises(TemplateError):
        async with one.renewed():
            pytest.fail("there is nothing to fork from")
    assert one.pid == 1
    assert templates.made[0].alive


async def test_one_that_ends_is_followed_by_another(templates: type[FakeTemplate]) -> None:
    one = new()
    await one.template()
    templates.made[0].process.exited.set_result(-9)
    for _ in range(10):
        await asyncio.sleep(0)
    assert one.pid == 2
    await one.stop()
    assert not templates.made[1].alive


async def test_nothing_is_loaded_once_the_service_ends(templates: type[FakeTemplate]) -> None:
    one = new()
    asking = asyncio.ensure_future(one.template())
    await asyncio.sleep(0)
    await one.stop()
    with pytest.raises(TemplateError, match="the service ends"):
        await asking
    with pytest.raises(TemplateError, match="the service ends"):
        await one.template()
    assert not any(template.alive for template in templates.made)


def test_what_cannot_be_preloaded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(("app",), Path("/"), "python3 app.py")
    with pytest.raises(StartFailed, match=r"python3 app\.py cannot be preloaded; leave out --preload"):
        check_preload(program)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(StartFailed, match="--preload needs Linux"):
        check_preload(dataclasses.replace(program, rscript="/usr/bin/Rscript"))
