"""Nothing of a worker is left behind, and nobody else is touched."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from time import monotonic

import pytest

from faucet.workers.family import Watch
from faucet.workers.kin import VARIABLE, Process, Targets, end_service, family, parse_ps, read_process, scan
from faucet.workers.process import ChildProcess
from faucet.workers.reaper import Reaper, marked
from tests.support.checkout import ROOT
from tests.support.family import wait_marked
from tests.support.running import is_alive, wait_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process; it mentions the mark of a service `s` by chance."""
    environment = {
        "NOTE": f"see {VARIABLE}=s.1",
        f"NO_{VARIABLE}": "s.1",
        VARIABLE: "ss.1,s1,t.s.1",
        "TRAP": f"\n{VARIABLE}=s.1",
    }
    process = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)
    wait_marked(process.pid)
    yield process
    assert process.poll() is None, "it was killed"
    process.kill()
    process.wait()


async def start(reaper: Reaper, script: str) -> ChildProcess:
    return await ChildProcess.start(["/bin/sh", "-c", script], Path("/"), os.environ, reaper, lambda *_: None)


@contextlib.asynccontextmanager
async def said(process: ChildProcess, lines: int = 1) -> AsyncIterator[list[int]]:
    """The numbers that it writes."""
    async with asyncio.timeout(10):
        while len(process.last_lines) < lines:
            await asyncio.sleep(0.01)
    yield [int(line) for line in process.last_lines]


async def ended(process: ChildProcess) -> None:
    async with asyncio.timeout(10):
        await process.output_ended()


DETACHED = "setsid sh -c 'setsid sleep 600 & echo $!; exit' & wait; sleep 0.1; "


async def test_what_has_left_the_session_ends_with_the_worker_however_it_ends(reaper: Reaper) -> None:
    for end in ("exit 0", "kill -KILL $$", "exec sleep 600"):
        process = await start(reaper, DETACHED + end)
        async with said(process) as (pid,):
            if end.startswith("exec"):
                assert is_alive(pid), "it lives as long as the worker"
                await process.stop(5)
            await ended(process)
            assert not is_alive(pid), end


async def test_they_are_asked_before_they_are_killed(reaper: Reaper, tmp_path: Path) -> None:
    script = tmp_path / "child"
    script.write_text('trap "$1" TERM\necho $$\nwhile :; do sleep 0.02; done\n')
    process = await start(
        reaper, f"setsid sh {script} 'echo asked >{tmp_path}/asked; exit' & setsid sh {script} '' & wait"
    )
    async with said(process, 2) as pids:
        process.kill()
        await ended(process)
        assert not any(map(is_alive, pids))
    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_children_without_a_mark_are_found_as_descendants(reaper: Reaper) -> None:
    process = await start(reaper, "env -i setsid sh -c 'echo $$; sleep 600 & echo $!; wait' & wait")
    async with said(process, 2) as pids:
        assert not read_process(pids[0]).marks  # type: ignore[union-attr]
        await process.stop(5)
        await ended(process)
        assert not any(map(is_alive, pids))


OVERWRITE = """
import ctypes, os, time
words = ctypes.cast(ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ"), ctypes.POINTER(ctypes.c_void_p))
i = 0
while words[i]:
    ctypes.memset(words[i], 0, len(ctypes.string_at(words[i])))
    i += 1
os.setpgid(0, 0)
print(os.getpid(), flush=True)
time.sleep(600)
"""


async def test_a_program_that_overwrites_its_environment_is_found_in_the_session(
    reaper: Reaper, tmp_path: Path
) -> None:
    (tmp_path / "overwrite.py").write_text(OVERWRITE)
    process = await start(reaper, f"{sys.executable} {tmp_path}/overwrite.py & wait")
    async with said(process) as (pid,):
        found = scan()[pid]
        assert (found.marks, found.session, found.group) == ((), process.pid, pid)
        process.kill()  # without a look before
        await ended(process)
        assert not is_alive(pid)


async def test_a_bystander_survives(reaper: Reaper, bystander: subprocess.Popen[bytes]) -> None:
    process = await start(reaper, DETACHED + "exec sleep 600")
    async with said(process):
        await process.stop(5)
        await ended(process)
    end_service("s", {}, looks=2)
    end_service("s.1", {bystander.pid: 17}, looks=2)


async def test_a_mark_is_a_whole_word() -> None:
    carriers, processes = {}, []
    for value in ("s.1", "s.12", "outer.3,s.1", "s"):
        process = subprocess.Popen(["sleep", "600"], env={VARIABLE: value}, start_new_session=True)
        carriers[process.pid] = value
        processes.append(process)
        wait_marked(process.pid)
    table = scan()
    belonging = {"s": set(carriers.values()), "s.1": {"s.1", "outer.3,s.1"}, "outer": {"outer.3,s.1"}}
    for mark, found in belonging.items():
        assert {carriers[process.pid] for process in family(table, mark, {}) if process.pid in carriers} == found
    for process in processes:
        process.kill()
        process.wait()


async def test_a_number_that_was_given_to_somebody_else(bystander: subprocess.Popen[bytes]) -> None:
    """The leader's number with another start time, and a process that was found and is another one by now."""
    found = read_process(bystander.pid)
    assert found is not None
    assert [p.pid for p in family(scan(), "none", {found.pid: found.start})] == [found.pid]
    assert not family(scan(), "none", {found.pid: found.start - 1})
    assert not family(scan(), "none", {}, {(found.pid, found.start - 1)})
    found.start -= 1
    with Targets([found]) as targets:
        targets.send(signal.SIGKILL)
        assert targets.wait(1)


async def test_a_number_without_a_pidfd(monkeypatch: pytest.MonkeyPatch, bystander: subprocess.Popen[bytes]) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    victim = subprocess.Popen(["sleep", "600"], start_new_session=True)
    right, wrong = read_process(victim.pid), read_process(bystander.pid)
    assert right is not None
    assert wrong is not None
    wrong.start -= 1
    with Targets([right, wrong]) as targets:
        targets.send(signal.SIGKILL)
        assert targets.wait(5)
    assert victim.wait() == -signal.SIGKILL


def test_ps_of_macos() -> None:
    table = parse_ps(
        "    1     0     1 Ss   /sbin/launchd\n"
        f"  501     1   501 S+   /usr/bin/R --args a={VARIABLE}=s.2 HOME=/Users/x {VARIABLE}=o.1,s.1 LANG=C\n"
        "  502   501   501 Z    (R)\n"
        "garbage\n"
    )
    assert {pid: (p.parent, p.group, p.state, p.marks) for pid, p in table.items()} == {
        1: (0, 1, "S", ()),
        501: (1, 501, "S", ("o.1", "s.1")),
        502: (501, 501, "Z", ()),
    }
    assert [process.pid for process in family(table, "s.1", {})] == [501]


# -- the reaper ------------------------------------------------------------------------------------------------


def test_the_reaper_finds_what_it_was_never_told_of() -> None:
    """Faucet may be killed between the start of a worker and the word of it."""
    reaper = Reaper()
    environment = {**os.environ, **marked(reaper.new_mark())}
    process = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)
    reaper.close()
    assert process.wait(2) == -signal.SIGKILL


def test_nothing_that_is_meant_for_faucet_ends_the_reaper() -> None:
    reaper = Reaper()
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    reaper.remember(process.pid)
    assert b"faucet" not in Path(f"/proc/{reaper.pid}/cmdline").read_bytes().lower()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        os.kill(reaper.pid, number)
    before = reaper.pid
    reaper.check()
    assert reaper.pid == before
    reaper.close()
    assert process.wait(2) == -signal.SIGKILL


async def test_a_reaper_that_is_killed_is_replaced_at_once() -> None:
    """Before anything else is started: the next to be killed may be Faucet."""
    reaper = Reaper()
    reaper.guard()
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    reaper.remember(process.pid)
    for _ in range(2):
        before = reaper.pid
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(5):
            while reaper.pid == before:
                await asyncio.sleep(0.01)
    reaper.close()
    assert process.wait(2) == -signal.SIGKILL


def test_the_signals_are_only_blocked_in_the_reaper() -> None:
    reaper = Reaper()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    reaper.close()
    assert not blocked & {signal.SIGTERM, signal.SIGINT}


def run_and_kill(argv: Sequence[str]) -> tuple[list[int], float]:
    """Run a program that writes pids, kill it, and wait until they are gone; how long that took."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    began = monotonic()
    for pid in pids:
        wait_gone(pid, 2)
    process.wait()
    process.stdout.close()
    return pids, monotonic() - began


KILLED = """
import asyncio, os, sys
from pathlib import Path
from faucet.workers.reaper import Reaper
from faucet.workers.process import ChildProcess
async def main():
    reaper = Reaper()
    process = await ChildProcess.start(["/bin/sh", "-c", sys.argv[1]], Path("/"), os.environ, reaper, lambda *_: None)
    while not process.last_lines:
        await asyncio.sleep(0.01)
    print(process.pid, reaper.pid, *process.last_lines, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_when_faucet_is_killed_nothing_is_left() -> None:
    pids, _ = run_and_kill([sys.executable, "-c", KILLED, DETACHED + "exec sleep 600"])
    assert len(pids) == 3


def test_a_worker_that_is_just_being_started_when_faucet_is_killed() -> None:
    """Whatever instant it is: between fork, exec and the word of it."""
    code = """
import asyncio, os, threading, time
from pathlib import Path
from faucet.workers.reaper import Reaper, marked
from faucet.workers.spawn import spawn
reaper = Reaper()
print(reaper.pid, flush=True)
while True:
    spawn(["sleep", "600"], Path("/"), {**os.environ, **marked(reaper.new_mark())})
"""
    for turn in range(5):
        mark = f"{os.getpid()}-{turn}"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "TEST_MARK": mark},
            cwd=ROOT,
        )  # fmt: skip
        assert process.stdout is not None
        reaper = int(process.stdout.readline())
        started = monotonic()
        while monotonic() - started < 0.05 + 0.013 * turn:
            pass
        process.kill()
        process.wait()
        process.stdout.close()
        wait_gone(reaper, 5)
        assert not [pid for pid in scan() if is_alive(pid) and _has(pid, mark)]


def _has(pid: int, mark: str) -> bool:
    with contextlib.suppress(OSError):
        return f"TEST_MARK={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


# -- looking, without holding anybody up -------------------------------------------------------------------------


async def test_those_that_end_together_share_a_look(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(since: int) -> dict[int, Process]:
        nonlocal looks
        looks += 1
        return scan(since)

    monkeypatch.setattr("faucet.workers.family.scan", counted)
    processes = [await start(reaper, "sleep 600") for _ in range(20)]
    for process in processes:
        process.kill()
    await asyncio.gather(*(ended(process) for process in processes))
    assert looks < 20


async def test_a_look_begins_after_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks during a look must not get one that may have missed what they ask about."""
    begun, go = [], threading.Event()

    def slow(since: int) -> dict[int, Process]:
        begun.append(since)
        go.wait(5)
        return {len(begun): Process(1, "S", 0, 1, 1, since)}

    monkeypatch.setattr("faucet.workers.family.scan", slow)
    watch = Watch()
    first = asyncio.ensure_future(watch.look(7))
    while not begun:
        await asyncio.sleep(0.01)
    later = [asyncio.ensure_future(watch.look(since)) for since in (9, 3, 5)]
    await asyncio.sleep(0)
    go.set()
    assert list(await first or ()) == [1]
    assert [list(table or ()) for table in await asyncio.gather(*later)] == [[2]] * 3
    assert begun == [7, 3], "marks are read of all that anybody asks about"


async def test_no_descriptors_to_look_with(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again: to see nobody is not the same as that nobody is there."""
    failures = iter([OSError(errno.EMFILE, "Too many open files")] * 2)

    def failing(since: int) -> dict[int, Process]:
        for error in failures:
            raise error
        return scan(since)

    process = await start(reaper, DETACHED + "exec sleep 600")
    async with said(process) as (pid,):
        monkeypatch.setattr("faucet.workers.family.scan", failing)
        process.kill()
        await ended(process)
        assert not is_alive(pid)


async def test_no_descriptors_to_read_a_start_time_with(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is started by then: it must not be forgotten."""

    def failing(pid: int) -> Process:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("faucet.workers.reaper.read_process", failing)
        process = await start(reaper, DETACHED + "exec sleep 600")
    async with said(process) as (pid,):
        process.kill()
        await ended(process)
        assert not is_alive(pid)


async def test_a_process_that_is_just_being_executed_is_looked_at_again(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an instant its environment is empty."""
    veils = iter([True, True])

    def early(since: int) -> dict[int, Process]:
        table = scan(since)
        if next(veils, False):
            for process in table.values():
                process.veiled = bool(process.marks)
                process.marks = ()
        return table

    process = await start(reaper, DETACHED + "exec sleep 600")
    async with said(process) as (pid,):
        monkeypatch.setattr("faucet.workers.family.scan", early)
        process.kill()
        await ended(process)
        assert not is_alive(pid)
