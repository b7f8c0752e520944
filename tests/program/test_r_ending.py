"""How R ends: its exit hooks run; of its temporary files and of what callr and processx started, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from faucet.workers.kin import scan
from tests.support.family import wait_reaped
from tests.support.load import Load, fetch
from tests.support.needs import need
from tests.support.running import WORKERS, Faucet, is_alive, wait_gone
from tests.support.status import control

Start = Callable[..., Faucet]

API = WORKERS / "plumber_ends.R"

RESTARTS = int(os.environ.get("RESTARTS", "10"))
"""Restarts under load."""


@pytest.fixture(scope="session", autouse=True)
def callr(plumber: str) -> None:
    probe = [plumber, "-e", 'quit(status = !all(sapply(c("callr", "processx"), requireNamespace, quietly = TRUE)))']
    need(subprocess.run(probe, capture_output=True, check=False).returncode == 0, "the R packages callr and processx")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What TMPDIR names; and the API is there."""
    shutil.copy(API, tmp_path / "plumber.R")
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


async def children(port: int) -> list[int]:
    """Start one by callr and one by processx."""
    answers = [await fetch(port, target) for target in ("/callr", "/processx")]
    assert [status for status, _ in answers] == [200, 200]
    return [int(body) for _, body in answers]


async def test_a_restart_runs_all_hooks_and_takes_no_time(faucet: Start, temporary: Path) -> None:
    service = faucet("-w", "1").wait_ready()
    pids = await children(service.port)
    before = Path((await fetch(service.port, "/tmp"))[1].decode())
    assert before.is_relative_to(temporary)
    assert all(map(is_alive, pids))
    async with control(service) as client:
        await client.ask("restart", worker="1")
    await asyncio.to_thread(service.wait_line, "worker 1: ready on port")
    began = monotonic()
    await asyncio.to_thread(service.wait_line, r"worker 1 stopped after .* \(restarted by")
    assert monotonic() - began < 1.5, "httpuv sleeps for two seconds, and has to be woken"
    for said in ("exit hook ran", "finalizer ran"):
        assert said in service.output
    assert "Execution halted" not in service.output, "R says so of an interrupt, and it looks like an error"
    assert not re.search(r"\| *$", service.output, re.MULTILINE)
    assert not before.parent.exists()
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize(("target", "said"), [("/sleep?t=60", "on.exit ran"), ("/caught", "exit hook ran")])
async def test_a_request_in_hand_is_interrupted(faucet: Start, target: str, said: str) -> None:
    """Also one that makes an answer of the interrupt, and goes on serving: it is asked again."""
    service = faucet("-w", "1").wait_ready()
    request = asyncio.ensure_future(fetch(service.port, target))
    await asyncio.to_thread(service.wait_line, "in hand")
    service.signal(signal.SIGTERM)
    await asyncio.to_thread(service.wait_line, "a second signal")
    began = monotonic()
    service.signal(signal.SIGTERM)
    assert (await request)[0] == 503
    assert await asyncio.to_thread(service.wait_exit) == 3
    assert monotonic() - began < 4
    assert said in service.output
    assert "exit hook ran" in service.output


async def test_r_in_a_long_computation_in_c(faucet: Start, temporary: Path) -> None:
    service = faucet("-w", "1").wait_ready()
    request = asyncio.ensure_future(fetch(service.port, "/c"))
    await asyncio.to_thread(service.wait_line, "in hand")
    service.signal(signal.SIGTERM)
    await asyncio.to_thread(service.wait_line, "a second signal")  # two at once could be one
    began = monotonic()
    service.signal(signal.SIGTERM)
    assert (await request)[0] == 503
    assert await asyncio.to_thread(service.wait_exit) == 3
    assert monotonic() - began < 5
    assert not list(temporary.iterdir())


async def test_children_end_with_a_killed_worker(faucet: Start, temporary: Path) -> None:
    service = faucet("-w", "1")
    worker = (await asyncio.to_thread(service.wait_workers, 1))[1]
    pids = await children(service.port)
    home = Path((await fetch(service.port, "/tmp"))[1].decode()).parent
    os.kill(worker, signal.SIGKILL)
    for pid in pids:
        await asyncio.to_thread(wait_gone, pid, 3)
    await asyncio.to_thread(service.wait_line, "was killed by SIGKILL")
    await asyncio.to_thread(service.wait_line, "worker 1: ready on port")
    assert not home.exists()


async def test_children_end_when_faucet_is_killed(faucet: Start, temporary: Path) -> None:
    service = faucet("-w", "2")
    workers = (await asyncio.to_thread(service.wait_workers, 2)).values()
    pids = [*workers, *await children(service.port), *await children(service.port)]
    service.process.kill()
    began = monotonic()
    for pid in pids:
        await asyncio.to_thread(wait_gone, pid, 2)
    assert monotonic() - began < 2
    service.wait_exit()
    while list(temporary.iterdir()):
        assert monotonic() - began < 5
        await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(60 + 6 * RESTARTS)
async def test_restarts_under_load_leave_nothing_behind(faucet: Start, temporary: Path) -> None:
    service = faucet("-w", "2")
    await asyncio.to_thread(service.wait_workers, 2)
    (home,) = temporary.iterdir()
    load, pids = Load(service.port, 2), set()
    async with control(service) as client:
        for _ in range(RESTARTS // 2):
            pids.update(await children(service.port))
            await client.ask("rolling-restart", wait=True, patience=60)
    await load.end()
    for pid in pids:
        await asyncio.to_thread(wait_gone, pid, 5)
    await asyncio.to_thread(wait_reaped, service.process.pid)
    with contextlib.suppress(FileNotFoundError):
        assert len([path for path in home.iterdir() if path.is_dir()]) == 2
    ours = [process for process in scan(1 << 60).values() if process.parent == service.process.pid]
    assert len(ours) == 3, "two workers and the reaper"
    print(f"{RESTARTS} restarts, {load.served} requests, {len(pids)} children")
    assert service.stop() == 0
    assert not list(temporary.iterdir())
    assert service.output.count("exit hook ran") == service.output.count("finalizer ran") >= RESTARTS
