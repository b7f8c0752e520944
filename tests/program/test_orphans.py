"""Orphans of workers, and everybody's orphans where Faucet is a container's first process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from faucet.workers.kin import family, read_marks, read_process, scan
from tests.support.checkout import ROOT
from tests.support.family import wait_reaped
from tests.support.load import fetch
from tests.support.running import WORKERS, Faucet, is_alive, python_worker, wait_gone
from tests.support.status import control, until

Start = Callable[..., Faucet]
FORKING = python_worker("forking")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers are Linux's")


async def leave_orphans(port: int, count: int, seconds: float = 0) -> list[int]:
    answers = [await fetch(port, f"/orphan?{seconds}") for _ in range(count)]
    assert {status for status, _ in answers} == {200}
    return [int(body) for _, body in answers]


async def test_a_thousand_requests_that_leave_a_grandchild_each(faucet: Start) -> None:
    service = faucet("--command", FORKING, "-w", "2")
    service.wait_workers(2)
    halves = await asyncio.gather(*(leave_orphans(service.port, 500) for _ in range(2)))
    assert len(set(halves[0] + halves[1])) == 1000
    await asyncio.to_thread(wait_reaped, service.process.pid)
    assert not [pid for half in halves for pid in half if read_process(pid)]


async def test_a_daemon_lives_as_long_as_its_worker(faucet: Start) -> None:
    service = faucet("--command", FORKING, "-w", "1")
    before = service.wait_workers(1)
    (daemon,) = await leave_orphans(service.port, 1, 600)
    orphan = read_process(daemon)
    assert orphan is not None
    assert orphan.parent == service.process.pid, "it is ours now"
    await leave_orphans(service.port, 5)
    assert is_alive(daemon)
    async with control(service) as client:
        await client.ask("restart", worker="1")
        status = await until(client, "replaced", lambda s: before[1] not in (w["pid"] for w in s["workers"]))
        await asyncio.to_thread(wait_gone, daemon, 3)
        (second,) = await leave_orphans(service.port, 1, 600)
        os.kill(status["workers"][0]["pid"], signal.SIGKILL)
        await asyncio.to_thread(wait_gone, second, 3)
    await asyncio.to_thread(wait_reaped, service.process.pid)


async def test_daemons_end_when_faucet_is_killed(faucet: Start) -> None:
    service = faucet("--command", FORKING, "-w", "2")
    service.wait_workers(2)
    daemons = await leave_orphans(service.port, 4, 600)
    service.process.kill()
    service.wait_exit()
    for pid in daemons:
        await asyncio.to_thread(wait_gone, pid, 2)


async def test_a_faucet_within_a_faucet(faucet: Start) -> None:
    """The inner one's processes carry both marks; its reaper belongs to it as a child."""
    inner = f"{sys.executable} -m faucet --headless -w 1 --control none --log-level error --host 127.0.0.1:{{port}}"
    inner += f' --command "{FORKING}"'
    service = faucet("--command", inner, "-w", "1")
    await asyncio.to_thread(service.wait_ready)
    async with control(service) as client:
        outer = (await client.ask("status"))["workers"][0]["pid"]
    daemons = await leave_orphans(service.port, 2, 600)
    assert "unknown variable" not in service.output
    mark = read_marks(outer)[0].partition(".")[0]
    everything = [process.pid for process in family(scan(), mark, {})]
    assert {outer, *daemons} < set(everything)
    assert len(everything) == 5, "the inner Faucet, its reaper, its worker, two daemons"
    os.kill(outer, signal.SIGKILL)
    for pid in everything:
        await asyncio.to_thread(wait_gone, pid, 3)
    assert (await fetch(service.port, "/pid"))[0] == 200
    everything = [process.pid for process in family(scan(), mark, {})]
    assert len(everything) == 3
    service.process.kill()
    for pid in everything:
        await asyncio.to_thread(wait_gone, pid, 3)
    service.wait_exit()


CHILDREN_OF_OURS = """
import asyncio, ctypes, subprocess, sys, threading
from faucet.workers import orphans
assert orphans.become_subreaper()
orphans.GRACE, orphans.OWN_SESSION_GRACE = 0.3, 3.0
reaper = orphans.OrphanReaper()
reaper.start()

async def main():
    for _ in range(20):
        processes = [await asyncio.create_subprocess_exec("sh", "-c", "exit 7") for _ in range(5)]
        plain = [subprocess.Popen(["sh", "-c", "(setsid true &) & exit 5"]) for _ in range(5)]
        leader = subprocess.Popen(["sh", "-c", "exit 6"], start_new_session=True)
        orphans.ours.add(leader.pid)
        assert [await process.wait() for process in processes] == [7] * 5
        assert await asyncio.to_thread(lambda: [process.wait() for process in plain]) == [5] * 5
        leaders.append(leader)
    await asyncio.sleep(1)
    assert [leader.wait() for leader in leaders] == [6] * 20
    late = subprocess.Popen(["sh", "-c", "(setsid sh -c 'exit 9' &); exit 5"])
    assert late.wait() == 5
    print("fine")

leaders = []
if sys.argv[1] == "uvloop":
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    asyncio.run(main())
for _ in range(200):
    if not orphans._dead_children():
        break
    threading.Event().wait(0.05)
else:
    sys.exit("zombies are left")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nobody_is_robbed_of_an_exit_status(loop: str) -> None:
    done = subprocess.run([sys.executable, "-c", CHILDREN_OF_OURS, loop], capture_output=True, text=True, check=False,
                          cwd=ROOT, timeout=60)  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


def test_the_reaper_sleeps_while_nobody_dies(faucet: Start) -> None:
    """No polling: its thread is not woken."""
    service = faucet("--command", python_worker("counting"), "-w", "1").wait_ready()
    tasks = Path(f"/proc/{service.process.pid}/task")

    def switches() -> dict[str, str]:
        found = {}
        for task in tasks.iterdir():
            where = (task / "wchan").read_text() if os.access(task / "wchan", os.R_OK) else ""
            syscall = (task / "syscall").read_text().split()[0] if os.access(task / "syscall", os.R_OK) else ""
            if "wait" in where or syscall == "247":
                text = (task / "status").read_text()
                found[task.name] = text[text.index("voluntary_ctxt") :]
        return found

    first = switches()
    if not first:
        pytest.skip("this kernel does not tell what a thread waits for")
    sleep(1.5)
    second = switches()
    assert any(second.get(task) == counts for task, counts in first.items())
    assert service.stop() == 0


# -- the first process of a container --------------------------------------------------------------------------


@pytest.fixture
def container() -> list[str]:
    """A wrapper that makes a program the first process of a PID namespace."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespaces here")
    return words


@contextlib.contextmanager
def inside(service: Faucet, *options: str):  # type: ignore[no-untyped-def]
    """The pid outside of the service that is process 1 inside."""
    deadline = monotonic() + 10
    wrapper = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    while not (children := wrapper.read_text().split()):
        assert monotonic() < deadline
        sleep(0.02)
    yield int(children[0])


async def test_as_process_1(faucet: Start, container: list[str]) -> None:
    """Also of those that somebody else has started in the container: by nsenter, as `docker exec` does."""
    service = faucet("--command", FORKING, "-w", "2", wrapper=container)
    await asyncio.to_thread(service.wait_workers, 2)
    with inside(service) as pid:
        await leave_orphans(service.port, 100)
        script = "for i in $(seq 50); do (setsid sh -c 'true & true &' &) ; done"
        enter = ["nsenter", "--pid", "--mount", "-t", str(pid), "sh", "-c", script]
        subprocess.run(enter, check=True, timeout=20)
        await asyncio.to_thread(wait_reaped, pid, 10)
        os.kill(pid, signal.SIGHUP)
        await asyncio.to_thread(service.wait_line, "rolling restart: all 2 workers are replaced")
        os.kill(pid, signal.SIGTERM)
        assert await asyncio.to_thread(service.wait_exit) == 0
    assert "stopped; every request in flight was finished" in service.output
    service.lines[:] = [line for line in service.lines if "(pid " not in line]  # those are numbers of inside


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_process_1(faucet: Start, container: list[str], number: signal.Signals) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", wrapper=container).wait_ready()
    with inside(service) as pid:
        os.kill(pid, number)
        assert service.wait_exit() == 0
    service.lines[:] = [line for line in service.lines if "(pid " not in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_process_1_while_it_starts(container: list[str], number: signal.Signals) -> None:
    """The kernel keeps signals from process 1 that it has no handler for."""
    script = "import faucet.cli.main as c, time; c._main = lambda words: (print('here', flush=True), time.sleep(60)); "
    words = [*container, sys.executable, "-c", script + "raise SystemExit(c.main([]))"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    os.kill(int(child), number)
    assert process.wait(5) in (128 + number, 130)
    process.stdout.close()


@pytest.mark.skipif(not shutil.which("pgrep"), reason="pgrep is missing")
@pytest.mark.parametrize("pattern", [("-f", "faucet"), ("python",)], ids=["faucet", "python"])
async def test_no_worker_is_left_if_whatever_has_a_name_is_killed(
    faucet: Start, tmp_path: Path, pattern: tuple[str, ...]
) -> None:
    """As `pkill -9 -f faucet` and `pkill -9 python` do it, but only to processes of this test."""
    runner, program = tmp_path / "runner", tmp_path / "forking.py"
    runner.symlink_to(Path(sys.executable).resolve())  # a worker that has neither name
    for name in (program, tmp_path / "counting.py", tmp_path / "little_http.py"):
        shutil.copy(WORKERS / name.name, name)
    service = faucet("--command", "./runner forking.py", "-w", "2")
    workers = service.wait_workers(2)
    daemons = await leave_orphans(service.port, 2, 600)
    children = {process.pid for process in psutil.Process(service.process.pid).children(recursive=True)}
    named = {int(pid) for pid in subprocess.run(["pgrep", *pattern], capture_output=True, check=True).stdout.split()}
    chosen = named & {service.process.pid, *children}
    assert not {*workers.values(), *daemons} & named
    subprocess.run(["kill", "-9", *map(str, chosen)], check=True)
    for pid in {*workers.values(), *daemons, *children}:
        await asyncio.to_thread(wait_gone, pid, 3)
