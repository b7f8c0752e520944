"""As many workers as are needed: more, fewer, some to spare, and none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.load import fetch
from tests.support.running import Faucet, python_worker
from tests.support.status import control, pids, states, until

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")


async def test_autoscale(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1..3", "--scale-up-after", "300ms", "--scale-down-after", "1s")
    service.wait_ready()
    assert "with 1 to 3 workers" in service.output
    async with control(service) as client:
        await until(client, "one", lambda s: states(s) == ["1 ready"])
        slow = [asyncio.ensure_future(fetch(service.port, "/slow?1")) for _ in range(12)]
        await until(client, "three", lambda s: len(pids(s)) == 3)
        assert {answer[0] for answer in await asyncio.gather(*slow)} == {200}
        await until(client, "one again", lambda s: states(s) == ["1 ready"])
    assert "requested by a queue that has waited" in service.output
    assert "in which not all workers were needed" in service.output


async def test_spare_workers(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1..3", "--spare", "1", "--scale-down-after", "1s")
    service.wait_workers(1)
    slow = asyncio.ensure_future(fetch(service.port, "/slow?4"))
    await asyncio.to_thread(service.wait_line, "scaled from 1 to 2 workers, requested by 0 free workers of 1")
    await asyncio.to_thread(service.wait_line, "worker 2: ready")
    assert await fetch(service.port, "/quick") == (200, b"hello")
    assert not slow.done()
    assert (await slow)[0] == 200
    await asyncio.to_thread(service.wait_line, "scaled from 2 to 1 workers")


async def test_the_last_worker_sleeps_until_a_request_comes(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "0..2", "--idle-timeout", "1s", "--queue-limit", "1")
    service.wait_workers(1)
    async with control(service) as client:
        await asyncio.to_thread(service.wait_line, r"scaled from 1 to 0 workers, requested by .* \(--idle-timeout\)")
        status = await until(client, "asleep", lambda s: not s["workers"])
        assert (status["service"]["state"], status["totals"]["workers"]) == ("serving", 0)
        assert "the next one starts one" in status["service"]["notice"]
        assert (await client.ask("health"))["asleep"]
        first, second = await asyncio.gather(fetch(service.port, "/"), fetch(service.port, "/"))
        assert sorted((first[0], second[0])) == [200, 503], "one place in the queue"
        assert not (await client.ask("health"))["asleep"]
        await until(client, "asleep again", lambda s: not s["workers"])
