"""Workers that are replaced, held, scaled and killed while they serve: no request fails for it, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faucet.control.client import Client, NoRuntime, Refusal
from faucet.control.paths import socket_path
from tests.bench.peers import consecutive_ports
from tests.support.load import Load, fetch
from tests.support.running import Faucet, is_alive, python_worker, wait_gone
from tests.support.status import control, pids, states, until

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")
WHO = {"who": "a test"}


async def replaced(client: Client, old: int) -> int:
    """Wait until worker 1 is another process than `old`, and that is gone; its pid."""
    status = await until(client, "replaced", lambda s: pids(s).get("1") not in (None, old) and len(s["workers"]) == 1)
    return pids(status)["1"]


async def test_restart_is_ready_first_and_no_request_fails(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    async with control(service) as client:
        load = Load(service.port, 4)
        old = pids(await client.ask("status"))["1"]
        for _ in range(3):
            await client.ask("restart", worker="1", **WHO)
            old = await replaced(client, old)
        await load.end()
        assert await fetch(service.port, "/offences") == (200, b"0")
    service.wait_line(r"worker 1 stopped after .* \(restarted by a test\)")


async def test_a_busy_worker_finishes_its_request_before_it_is_replaced(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    async with control(service) as client:
        old = pids(await client.ask("status"))["1"]
        slow = asyncio.ensure_future(fetch(service.port, "/slow?1.5"))
        await until(client, "busy", lambda s: states(s) == ["1 busy"])
        assert "finishes its request in progress" in await client.ask("restart", worker=1, **WHO)
        with pytest.raises(Refusal, match="already being replaced"):
            await client.ask("restart", worker=1, **WHO)
        status = await until(client, "draining", lambda s: "1- draining" in states(s))
        assert states(status) == ["1 ready", "1- draining"]
        row = status["workers"][1]
        assert (row["pid"], row["request"], row["reason"]) == (old, "GET /slow?1.5", "restarted by a test")
        assert row["locked"] > 0
        assert (await fetch(service.port, "/pid"))[1] != str(old).encode(), "the new one serves meanwhile"
        assert (await slow)[0] == 200
        await until(client, "over", lambda s: states(s) == ["1 ready"])
    wait_gone(old)


async def test_rolling_restart_under_load(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "3")
    before = service.wait_workers(3)
    async with control(service) as client:
        load = Load(service.port, 6)
        assert await client.ask("rolling-restart", **WHO) == "3 workers are replaced, one after the other"
        with pytest.raises(Refusal, match="already in progress"):
            await client.ask("rolling-restart", **WHO)
        notices = set()
        while notice := (await client.ask("status"))["service"]["notice"]:
            notices.add(notice)
            await asyncio.sleep(0.01)
        await load.end()
        assert {f"rolling restart: {n} of 3, worker {n + 1}" for n in range(3)} == notices
        after = pids(await client.ask("status"))
        assert len(after) == 3
        assert not set(after.values()) & set(before.values())
    service.wait_line("rolling restart: all 3 workers are replaced")


async def test_a_roll_stops_where_a_replacement_fails_and_the_old_workers_stay(faucet: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    program = f"sh -c 'test -e {broken} && echo my config is gone && exit 3; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "2")
    before = service.wait_workers(2)
    async with control(service) as client:
        load = Load(service.port, 2)
        broken.touch()
        await client.ask("rolling-restart", **WHO)
        await until(client, "stopped", lambda s: s["service"]["notice"].startswith("reload failed: "))
        assert {int(name): pid for name, pid in pids(await client.ask("status")).items()} == before
        await load.end()
        service.wait_line("rolling restart stopped at worker 1: the replacement exited with code 3")
        await client.ask("restart", worker="2", **WHO)
        service.wait_line("worker 2: not replaced: the replacement exited with code 3")
        details = await client.ask("details", worker="2")
        assert details["exits"][-1][1].startswith("exited with code 3")
        broken.unlink()
        await client.ask("restart", worker="2", **WHO)
        await until(client, "replaced", lambda s: pids(s).get("2") not in (None, before[2]))


async def test_hold_and_resume(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    before = service.wait_workers(2)
    async with control(service) as client:
        with pytest.raises(Refusal, match="worker 1 is not held"):
            await client.ask("resume", worker="1")
        slow = asyncio.ensure_future(fetch(service.port, "/slow?0.5"))
        status = await until(client, "busy", lambda s: any(row["state"] == "busy" for row in s["workers"]))
        busy = next(row["name"] for row in status["workers"] if row["state"] == "busy")
        other = before[3 - int(busy)]
        await client.ask("hold", worker=busy, **WHO)
        assert (await slow)[0] == 200, "the request in hand is finished"
        assert {(await fetch(service.port, "/pid"))[1] for _ in range(10)} == {str(other).encode()}
        await client.ask("restart", worker=busy, **WHO)
        status = await until(client, "replaced", lambda s: pids(s).get(busy) not in (None, before[int(busy)]))
        assert f"{busy} held" in states(status), "what is held stays held"
        assert {(await fetch(service.port, "/pid"))[1] for _ in range(6)} == {str(other).encode()}
        await client.ask("resume", worker=busy, **WHO)
        assert len({(await fetch(service.port, "/pid"))[1] for _ in range(10)}) == 2


async def test_requests_wait_while_all_are_held_and_a_held_worker_that_dies_comes_back_held(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    async with control(service) as client:
        await client.ask("hold", worker="1", **WHO)
        waiting = asyncio.ensure_future(fetch(service.port, "/pid"))
        status = await until(client, "waiting", lambda s: s["totals"]["waiting"] == 1)
        assert [row["request"] for row in status["queue"]] == ["GET /pid"]
        old = status["workers"][0]["pid"]
        await client.ask("kill", worker="1", **WHO)
        status = await until(client, "back", lambda s: pids(s).get("1") not in (None, old))
        assert states(status) == ["1 held"]
        assert not waiting.done()
        await client.ask("resume", worker="1", **WHO)
        assert (await waiting) == (200, str(status["workers"][0]["pid"]).encode())


async def test_scale_up_and_down_under_load(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    service.wait_workers(2)
    async with control(service) as client:
        load = Load(service.port, 5)
        assert await client.ask("scale", count=5, **WHO) == "5 workers, 2 before"
        status = await until(client, "five", lambda s: len(pids(s)) == 5)
        all_pids = pids(status)
        assert await client.ask("scale", count="-3", **WHO) == "2 workers, 5 before"
        assert await client.ask("scale", count="+1", **WHO) == "3 workers, 2 before"
        status = await until(client, "three", lambda s: len(s["workers"]) == len(pids(s)) == 3)
        await load.end()
        assert {name: all_pids[name] for name in ("1", "2")}.items() <= pids(status).items()
        for name in ("3", "4", "5"):
            assert not is_alive(all_pids[name])
        for count in (0, 1001, "+x", True, None, 1.5):
            with pytest.raises(Refusal):
                await client.ask("scale", count=count)
        assert await client.ask("scale", count=3) == "there are 3 workers already"


async def test_scaling_down_lets_a_busy_worker_finish(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    service.wait_workers(2)
    async with control(service) as client:
        slow = [asyncio.ensure_future(fetch(service.port, "/slow?0.7")) for _ in range(2)]
        await until(client, "busy", lambda s: s["totals"]["locked"] == 2)
        await client.ask("scale", count=1)
        assert states(await client.ask("status"))[1] == "2 draining"
        assert [answer[0] for answer in await asyncio.gather(*slow)] == [200, 200]
        await until(client, "one", lambda s: states(s) == ["1 ready"])
    service.wait_line(r"worker 2 stopped after .* \(scaled down by an unnamed client\)")


async def test_scaling_away_workers_that_start_or_wait(faucet: Start) -> None:
    program = f"sh -c 'test $FAUCET_WORKER_ID = 1 || sleep 30; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "3").wait_ready()
    crash = faucet(
        "--command", f"sh -c 'test $FAUCET_WORKER_ID = 1 || exit 1; exec {COUNTING}'", "-w", "3"
    ).wait_ready()
    for one in (service, crash):
        async with control(one) as client:
            await asyncio.sleep(0.3)
            await client.ask("scale", count=1)
            await until(client, "one", lambda s: states(s) == ["1 ready"])
        assert one.stop() == 0


async def test_kill(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    async with control(service) as client:
        old = pids(await client.ask("status"))["1"]
        post = asyncio.ensure_future(fetch(service.port, "/slow?5", method="POST"))
        await until(client, "busy", lambda s: states(s) == ["1 busy"])
        await client.ask("kill", worker="1", **WHO)
        assert (await post)[0] == 502
        await until(client, "back", lambda s: pids(s).get("1") not in (None, old))
    service.wait_line(r"worker 1 was killed while serving POST /slow\?5 from 127.0.0.1 after .* \(killed by a test\)")


async def test_a_scaled_down_place_waits_for_its_predecessor_too(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    service.wait_workers(2)
    async with control(service) as client:
        slow = [asyncio.ensure_future(fetch(service.port, "/slow?1.5")) for _ in range(2)]
        await until(client, "busy", lambda s: s["totals"]["locked"] == 2)
        await client.ask("restart", worker="2")
        await until(client, "draining", lambda s: "2- draining" in states(s))
        await client.ask("scale", count=1)
        status = await client.ask("status")
        assert "2- draining" in states(status)
        assert [answer[0] for answer in await asyncio.gather(*slow)] == [200, 200]
        await until(client, "one", lambda s: states(s) == ["1 ready"])


async def test_a_roll_is_not_stopped_by_what_else_is_asked(faucet: Start) -> None:
    program = f"sh -c 'sleep 0.3; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "4", "--log-level", "warning", host="127.0.0.1:0")
    port = await service.listening_port()
    client = await Client.connect(socket_path(port))
    await until(client, "ready", lambda s: len(pids(s)) == 4)
    before = set(pids(await client.ask("status")).values())
    await client.ask("restart", worker="3")
    rolled = asyncio.ensure_future(client.ask("rolling-restart", wait=True, patience=20))
    await asyncio.sleep(0.1)
    await client.ask("restart", worker="2")
    await client.ask("scale", count=3)
    assert await rolled == "rolling restart: all 4 workers are replaced"
    status = await until(client, "three", lambda s: len(pids(s)) == len(s["workers"]) == 3)
    assert not before & set(pids(status).values())
    await client.close()
    assert "error" not in service.output


async def test_a_worker_that_starts_meanwhile_is_replaced_too(faucet: Start) -> None:
    """It may be starting with the old code."""
    program = f"sh -c 'sleep 0.7; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "1").wait_ready()
    async with control(service) as client:
        await client.ask("scale", count=2)
        await until(client, "starting", lambda s: "2 starting" in states(s))
        old = next(row["pid"] for row in (await client.ask("status"))["workers"] if row["name"] == "2")
        assert "all 2 workers" in await client.ask("rolling-restart", wait=True, patience=20)
        assert pids(await client.ask("status"))["2"] != old


async def test_two_restarts_of_a_worker_that_starts_are_one_and_nothing_is_hidden_from_the_end(
    faucet: Start, tmp_path: Path
) -> None:
    """Both were asked while the same process was starting, so both want the same: one that was started after it."""
    program = f"sh -c 'echo $$ >> {tmp_path}/worker-$FAUCET_WORKER_ID; sleep 0.7; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "1").wait_ready()
    async with control(service) as client:
        await client.ask("scale", count=2)
        await until(client, "starting", lambda s: "2 starting" in states(s))
        old = next(row["pid"] for row in (await client.ask("status"))["workers"] if row["name"] == "2")
        await client.ask("restart", worker="2")
        await client.ask("restart", worker="2")
        await until(client, "replaced", lambda s: pids(s).get("2") not in (None, old) and len(s["workers"]) == 2)
        started = [int(line) for line in (tmp_path / "worker-2").read_text().split()]
        assert len(started) == 2
    service.signal(signal.SIGTERM)
    assert await asyncio.to_thread(service.wait_exit, 12) == 0
    assert not any(map(is_alive, started))


async def test_child_ports_stay_together_through_a_roll(faucet: Start) -> None:
    first = consecutive_ports(4)[0]
    service = faucet("--command", COUNTING, "-w", "2", "--child-port", str(first))
    service.wait_workers(2)
    async with control(service) as client:
        for _ in range(3):
            await client.ask("rolling-restart", wait=True, patience=20)
            status = await until(client, "two", lambda s: len(s["workers"]) == 2)
            assert all(first <= row["port"] < first + 4 for row in status["workers"])
    assert "is not free" not in service.output


SLOW_TO_END = f"sh -c 'trap \"sleep 0.$((4 * FAUCET_WORKER_ID)); kill %1; exit\" TERM; {COUNTING} & wait; wait'"
"""Workers that end one after the other: 0.4 s, 0.8 s, 0.12 s."""


@pytest.mark.parametrize("asked", ["rolling-restart", "restart", "scale", "none"])
async def test_nothing_is_started_once_the_service_ends(faucet: Start, asked: str) -> None:
    """While its workers end, at different times, commands still come, and a roll is under way."""
    service = faucet("--command", SLOW_TO_END, "-w", "3")
    service.wait_workers(3)
    async with control(service) as client:
        slow = asyncio.ensure_future(fetch(service.port, "/slow?1"))
        await until(client, "busy", lambda s: s["totals"]["locked"] == 1)
        await client.ask("rolling-restart")
        await until(client, "draining", lambda s: any("- draining" in state for state in states(s)))
        service.signal(signal.SIGTERM)
        assert (await slow)[0] == 200
        arguments = {"restart": {"worker": "3"}, "scale": {"count": "+1"}}.get(asked, {})
        while asked != "none" and not client.closed.done():
            try:
                await client.ask(asked, **arguments)  # type: ignore[arg-type]
            except Refusal as error:
                if "is ending" in str(error):
                    break
            except NoRuntime:
                break
            await asyncio.sleep(0.02)
        assert await asyncio.to_thread(service.wait_exit, 12) == 0
    assert "is not ready" not in service.output


async def test_clients_cannot_use_up_all_descriptors(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2", wrapper=["sh", "-c", 'ulimit -n 60; exec "$@"', "sh"])
    before = service.wait_workers(2)
    crowd = []
    for _ in range(80):
        sock = socket.socket()
        sock.settimeout(1)
        sock.connect(("127.0.0.1", service.port))
        crowd.append(sock)
    await asyncio.sleep(0.2)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for _ in range(200):
        after = service.worker_pids
        if all(after[number] != pid for number, pid in before.items()):
            break
        await asyncio.sleep(0.1)
    assert all(after[number] != pid for number, pid in before.items()), "some are kept back from clients"
    assert (await fetch(service.port, "/"))[0] == 200, "an idle client has to go"
    assert service.output.count("no file descriptors to spare (limit 60)") == 1
    for sock in crowd:
        sock.close()
    assert (await fetch(service.port, "/"))[0] == 200


async def test_a_service_that_stops_in_the_middle_of_everything(faucet: Start) -> None:
    """Whatever goes on: it ends, in time, and nothing is left (the fixture looks)."""
    program = f"sh -c 'sleep 0.4; exec {COUNTING}'"
    for number in (signal.SIGTERM, signal.SIGINT):
        service = faucet("--command", program, "-w", "4")
        service.wait_workers(4)
        async with control(service) as client:
            await client.ask("hold", worker="1")
            await client.ask("kill", worker="2")
            await client.ask("restart", worker="3")
            await client.ask("rolling-restart")
            await client.ask("scale", count=3)
            await client.ask("scale", count=6)
            await asyncio.sleep(0.2)
        service.signal(number)
        assert await asyncio.to_thread(service.wait_exit) == 0
        assert "Traceback" not in service.output


@pytest.mark.parametrize("command", [("restart", "1"), ("scale", "+1"), ("hold", "1")])
def test_ctl(faucet: Start, command: tuple[str, str]) -> None:
    import subprocess

    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    words = [sys.executable, "-m", "faucet", "ctl", *command, "--at", str(service.port)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stdout)) == (0, True), done
