"""Workers that cannot be started, die meanwhile or do not leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.control.client import Client, Refusal
from tests.support.load import fetch
from tests.support.running import Faucet, python_worker
from tests.support.status import control, pids, states, until

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")


async def test_the_worker_dies_while_its_replacement_starts(faucet: Start, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    service = faucet("--command", f"sh -c 'test -e {slow} && sleep 1; exec {COUNTING}'", "-w", "1").wait_ready()
    async with control(service) as client:
        slow.touch()
        old = pids(await client.ask("status"))["1"]
        await client.ask("restart", worker="1")
        await until(client, "starting", lambda s: len(s["workers"]) == 2)
        await client.ask("kill", worker="1")
        status = await until(client, "replaced", lambda s: pids(s).get("1") not in (None, old))
        assert states(status) == ["1 ready"]
        assert (await fetch(service.port, "/pid"))[1] == str(pids(status)["1"]).encode()


async def test_too_many_failed_starts_and_a_restart_by_hand(faucet: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    program = f"sh -c 'test -e {broken} && echo no luck && exit 3; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "1", "--max-restarts", "2").wait_ready()
    async with control(service) as client:
        broken.touch()
        await client.ask("kill", worker="1")
        waiting = asyncio.ensure_future(fetch(service.port, "/"))
        status = await until(client, "failed", lambda s: states(s) == ["1 failed"])
        assert "exited with code 3" in status["workers"][0]["reason"]
        assert "next try at" in status["workers"][0]["reason"]
        code, body = await waiting
        assert (code, b"exited with code 3" in body) == (503, True), "nobody waits in vain"
        code, body = await fetch(service.port, "/")
        assert (code, b"No worker can be started" in body) == (503, True)
        assert await client.ask("health") == {
            "state": "failing", "ready": 0, "workers": 1, "waiting": 0, "asleep": False, "good": False,
        }  # fmt: skip
        broken.unlink()
        assert await client.ask("restart", worker="1") == "worker 1 is started at once"
        await until(client, "back", lambda s: states(s) == ["1 ready"])
        assert (await fetch(service.port, "/"))[0] == 200


def test_an_error_that_comes_with_each_try_is_logged_once(faucet: Start) -> None:
    service = faucet("--command", "sh -c 'echo on port $FAUCET_PORT; echo no such package >&2; exit 1'", "-w", "1")
    assert service.wait_exit() == 1
    assert service.output.count("worker 1 err | no such package") == 1
    assert service.output.count("worker 1 out | on port") == 1
    assert service.output.count("worker 1: 2 lines of output as in the start before") == 2
    assert "\n  | no such package" in service.output, "what ends the service names it once more"


async def test_keep_trying(faucet: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    program = f"sh -c 'test -e {broken} && exit 3; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "1", "--keep-trying", "--max-restarts", "2",
                     "--control", str(tmp_path / "s"))  # fmt: skip
    service.wait_line("failed to start 2 times in a row; from now on it is tried once a minute")
    line = await asyncio.to_thread(service.wait_line, r"listening for .* on http://.*:(?P<port>\d+), but no worker can")
    service.port = int(line["port"])
    code, body = await fetch(service.port, "/")
    assert (code, b"exited with code 3" in body) == (503, True), "whoever asks is told why"
    broken.unlink()
    client = await Client.connect(tmp_path / "s")
    await client.ask("restart", worker="1")
    await until(client, "ready", lambda s: states(s) == ["1 ready"])
    await client.close()
    assert (await fetch(service.port, "/"))[0] == 200


async def test_what_is_wrong_is_told_to_whoever_looks(faucet: Start, tmp_path: Path) -> None:
    """As the monitor has it: the state, what to do, and a restart that failed, until one succeeds."""
    broken = tmp_path / "broken"
    broken.touch()
    said = "there is no package called 'nosuch'"
    program = f'sh -c "test -e {broken} && echo \\"{said}\\" && exit 1; exec {COUNTING}"'
    service = faucet("--command", program, "-w", "2", "--keep-trying", "--max-restarts", "2",
                     "--control", str(tmp_path / "s"))  # fmt: skip
    await asyncio.to_thread(service.wait_line, "The R package nosuch is missing; install it with")
    client = await Client.connect(tmp_path / "s")
    status = await until(client, "failing", lambda s: s["service"]["state"] == "failing")
    assert status["service"]["notice"].startswith("no worker can start: The R package nosuch is missing; install")
    assert all(row["reason"].startswith("nosuch is missing") for row in status["workers"])
    details = await client.ask("details", worker="1")
    assert details["facts"][0][1].startswith("The R package nosuch is missing; install it with")
    await until(client, "given up", lambda s: states(s) == ["1 failed", "2 failed"])
    assert service.output.count("The R package nosuch is missing") == 1, "once for all workers"
    broken.unlink()
    for worker in ("1", "2"):
        await client.ask("restart", worker=worker)
    status = await until(client, "ready", lambda s: states(s) == ["1 ready", "2 ready"])
    assert (status["service"]["state"], status["service"]["notice"]) == ("serving", "")
    broken.touch()
    with pytest.raises(Refusal, match="The R package nosuch is missing"):
        await client.ask("rolling-restart", wait=True, patience=20)
    status = await client.ask("status")
    assert status["service"]["state"] == "serving"
    assert status["service"]["notice"].startswith("reload failed: The R package nosuch is missing; install it with: ")
    assert status["service"]["notice"].endswith("; 2 old workers still serve OLD CODE")
    (notice,) = status["notices"]
    assert (notice["kind"], notice["level"]) == ("reload", "error")
    assert said in notice["detail"]
    assert notice["command"].endswith("""-e 'install.packages("nosuch")'""")
    broken.unlink()
    await client.ask("rolling-restart", wait=True, patience=20)
    status = await client.ask("status")
    assert (status["service"]["notice"], status["notices"]) == ("", [])
    await client.close()


async def test_a_process_that_does_not_leave_can_be_killed(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    service.wait_workers(2)
    async with control(service) as client:
        stuck = asyncio.ensure_future(fetch(service.port, "/slow?30", method="POST"))
        status = await until(client, "busy", lambda s: s["totals"]["locked"] == 1)
        name = next(row["name"] for row in status["workers"] if row["locked"])
        await client.ask("restart", worker=name)
        await until(client, "draining", lambda s: f"{name}- draining" in states(s))
        fresh = pids(await client.ask("status"))[name]
        assert "is killed" in await client.ask("kill", worker=f"{name}-")
        assert (await stuck)[0] == 502
        assert pids(await client.ask("status"))[name] == fresh, "not the one that serves"
        with pytest.raises(Refusal, match="has no process now"):
            await client.ask("kill", worker=f"{name}-")
        stuck = asyncio.ensure_future(fetch(service.port, "/slow?30", method="POST"))
        other = asyncio.ensure_future(fetch(service.port, "/slow?30", method="POST"))
        await until(client, "busy", lambda s: s["totals"]["locked"] == 2)
        await client.ask("scale", count=1)
        with pytest.raises(Refusal, match="is leaving: it was scaled away"):
            await client.ask("restart", worker="2")
        assert await client.ask("restart", worker="all") == (
            "worker 1 finishes its request in progress once its replacement is ready"
        )
        await client.ask("kill", worker="2")
        await until(client, "draining", lambda s: "1- draining" in states(s))
        await client.ask("kill", worker="1-")
        assert [answer[0] for answer in await asyncio.gather(stuck, other)] == [502, 502]
        await until(client, "one", lambda s: states(s) == ["1 ready"])
