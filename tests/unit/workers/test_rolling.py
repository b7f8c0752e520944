"""A rolling restart: batch after batch, it stops at the first failure, and one that is requested meanwhile follows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, cast

import pytest

from faucet.fleet import Refused
from faucet.workers.causes import Cause, Reason
from faucet.workers.rolling import RollingRestarts
from faucet.workers.slot import ReplaceError


class Replaced:
    """A slot that says when it is replaced, and waits for the test to go on."""

    def __init__(self, name: str, pool: ThePool) -> None:
        self.name, self.pool = name, pool

    def __str__(self) -> str:
        return self.name

    async def replace(self, cause: Cause) -> None:
        assert cause.reason is Reason.ROLLING_RESTART
        self.pool.events.append(self.name)
        await self.pool.go_on.wait()
        if self.name in self.pool.broken:
            raise ReplaceError("exited with code 1\n  | Error")


class ThePool:
    def __init__(self, count: int) -> None:
        self.slots = [Replaced(str(number), self) for number in range(1, count + 1)]
        self.stopping = self.ending = False
        self.events: list[str] = []
        self.broken: set[str] = set()
        self.go_on = asyncio.Event()
        self.reloads: list[str] = []
        self.template = "old"

    @contextlib.asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        if self.template == "broken":
            raise ReplaceError("the template exited with code 1 before the API listened\n  | Error", subject="")
        before, self.template = self.template, "new"
        try:
            yield
        except ReplaceError:
            self.template = before
            raise

    def reload(self, why: str) -> None:
        self.reloads.append(why)

    def act(self, coroutine: Coroutine[Any, Any, Any], _: str) -> asyncio.Task[Any]:
        return asyncio.ensure_future(coroutine)


def rolling(pool: ThePool, batch: int) -> RollingRestarts:
    return RollingRestarts(cast("Any", pool), batch)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_batch_after_the_other() -> None:
    pool = ThePool(5)
    restarts = rolling(pool, 2)
    progress = restarts.start("a test")
    await turns()
    assert pool.events == ["1", "2"]
    assert restarts.notice() == "rolling restart: 0 of 5, worker 1, 2"
    with pytest.raises(Refused, match="already in progress"):
        restarts.start("another")
    pool.go_on.set()
    assert await progress.result == "rolling restart: all 5 workers are replaced"
    assert pool.events == ["1", "2", "3", "4", "5"]
    assert (restarts.notice(), restarts.begun) == ("", 1)


async def test_workers_are_replaced_from_a_new_template() -> None:
    pool = ThePool(1)
    restarts = rolling(pool, 1)
    progress = restarts.start("a test")
    assert restarts.notice() == "rolling restart: 0 of 1, a new template first"
    await turns()
    assert pool.template == "new"
    pool.go_on.set()
    await progress.result
    assert pool.template == "new"


async def test_a_template_that_fails_leaves_everything_as_it_was() -> None:
    pool = ThePool(1)
    pool.template = "broken"
    restarts = rolling(pool, 1)
    why = "rolling restart stopped: the template exited with code 1 before the API listened; the old workers stay"
    with pytest.raises(Refused, match=why):
        await restarts.start("a test").result
    assert pool.events == []
    assert restarts.failed is not None
    assert restarts.failed.error.short == "the template exited with code 1 before the API listened"


async def test_the_old_template_is_back_after_a_failure() -> None:
    pool = ThePool(2)
    pool.broken, _ = {"2"}, pool.go_on.set()
    with pytest.raises(Refused, match="stopped at worker 2"):
        await rolling(pool, 1).start("a test").result
    assert pool.template == "old"


def test_a_failure_in_a_line_begins_with_the_reason() -> None:
    error = ReplaceError("exited with code 1\n  | Error: no model\n  | Execution halted", said="Error: no model")
    assert error.in_a_line("; the old workers stay") == (
        "Error: no model; the old workers stay. The replacement exited with code 1"
    )


async def test_a_failure_stops_it_and_is_known_until_one_succeeds() -> None:
    pool = ThePool(3)
    pool.broken, restarts = {"2"}, rolling(pool, 1)
    pool.go_on.set()
    with pytest.raises(Refused, match="at worker 2: the replacement exited with code 1; the old workers stay"):
        await restarts.start("a test").result
    assert pool.events == ["1", "2"]
    assert restarts.failed is not None
    assert (restarts.failed.error.short, restarts.failed.cause) == (
        "the replacement exited with code 1", "rolling restart by a test"
    )  # fmt: skip
    pool.broken = set()
    await restarts.start("a test").result
    assert restarts.failed is None


async def test_one_that_is_requested_meanwhile_follows() -> None:
    pool = ThePool(2)
    restarts = rolling(pool, 1)
    assert not restarts.follow("nothing is in progress")
    progress = restarts.start("a test")
    assert restarts.follow("a change of a.R")
    assert restarts.follow("a change of b.R")
    pool.go_on.set()
    await progress.result
    await turns()
    assert pool.reloads == ["a change of b.R"], "one is enough for both"


async def test_the_end_of_the_service_ends_it() -> None:
    pool = ThePool(3)
    restarts = rolling(pool, 1)
    progress = restarts.start("a test")
    assert restarts.follow("a change")
    await turns()
    pool.stopping = pool.ending = True
    pool.go_on.set()
    with pytest.raises(Refused, match="the service ended when 0 workers were replaced"):
        await progress.result
    await turns()
    assert (pool.events, pool.reloads) == (["1"], [])


async def test_a_slot_that_is_scaled_away_is_left_out() -> None:
    pool = ThePool(3)
    progress = rolling(pool, 1).start("a test")
    await turns()
    del pool.slots[2]
    pool.go_on.set()
    assert await progress.result == "rolling restart: all 3 workers are replaced"
    assert pool.events == ["1", "2"]
