"""Warm-up: no client gets a worker that has not answered its warm-up, at the start and after each replacement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from faucet.control.client import Client
from tests.support.load import Load, fetch
from tests.support.running import Faucet, python_worker
from tests.support.status import control, until

Start = Callable[..., Faucet]
LEAKY = python_worker("leaky")


async def test_before_each_worker_serves(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text("{}")
    service = faucet("--command", LEAKY, "-w", "1", "--warmup", "/health", "--warmup", "POST /body @body.json")
    before = service.wait_workers(1)
    warmed = [line for line in service.lines if "warm-up" in line]
    assert [line.partition(": ")[2].partition(" after")[0] for line in warmed] == [
        "warm-up GET /health: 200",
        "warm-up POST /body: 200",
    ]
    assert await fetch(service.port, "/served") == (200, b"2")
    (tmp_path / "ill").touch()
    async with control(service) as client:
        load = Load(service.port, 2)
        await client.ask("restart", worker="1")
        await asyncio.to_thread(
            service.wait_line, "not replaced: the replacement answered GET /health, its warm-up, with 500"
        )
        (tmp_path / "ill").unlink()
        await client.ask("restart", worker="1")
        await until(client, "replaced", lambda s: s["workers"][0]["pid"] not in (0, *before.values()))
        await load.end()


async def test_a_worker_that_fails_its_warm_up_has_failed_to_start(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "ill").touch()
    service = faucet("--command", LEAKY, "-w", "1", "--warmup", "/health")
    await asyncio.to_thread(service.wait_line, "worker 1: answered GET /health, its warm-up, with 500: .*Internal")
    (tmp_path / "ill").unlink()
    await asyncio.to_thread(service.wait_ready)
    assert await fetch(service.port, "/served") == (200, b"1")


async def test_the_end_does_not_wait_for_a_warm_up(faucet: Start, tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"
    service = faucet("--command", LEAKY, "-w", "1", "--warmup", "/slow?50", "--control", str(socket))
    await asyncio.to_thread(service.wait_line, "starting 1 worker")
    client = await Client.connect(socket)
    await until(client, "warming up", lambda s: s["workers"][0]["reason"] == "warming up")
    await client.close()
    assert await asyncio.to_thread(service.stop) == 0


def test_a_body_that_is_not_there(faucet: Start) -> None:
    service = faucet("--command", LEAKY, "-w", "1", "--warmup", "POST /body @body.json")
    service.wait_line("--warmup: there is no file .*/body.json; files are looked for in the directory of the API")
    assert service.wait_exit() == 1
