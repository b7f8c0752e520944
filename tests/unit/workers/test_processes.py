"""Child processes, and the reaper that outlives Faucet by a moment."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from faucet.workers.process import ChildProcess
from faucet.workers.reaper import Reaper
from tests.support.running import is_alive, wait_gone


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()


async def start(reaper: Reaper, script: str, lines: list[tuple[str, str]] | None = None) -> ChildProcess:
    log = lines if lines is not None else []
    return await ChildProcess.start(
        ["/bin/sh", "-c", script], Path("/"), os.environ, reaper, lambda stream, line: log.append((stream, line))
    )


async def test_output_and_exit_code(reaper: Reaper) -> None:
    lines: list[tuple[str, str]] = []
    process = await start(reaper, "echo one; echo two >&2; printf three; exit 5", lines)
    assert await process.exited == 5
    await process.output_ended()
    assert sorted(lines) == [("err", "two"), ("out", "one"), ("out", "three")]
    assert sorted(process.last_lines) == ["one", "three", "two"]


@pytest.mark.parametrize("waitid", [True, False])
async def test_without_pidfd_as_on_macos(reaper: Reaper, monkeypatch: pytest.MonkeyPatch, waitid: bool) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    if not waitid:
        monkeypatch.delattr(os, "waitid")
    process = await start(reaper, "echo here; exit 4")
    assert await process.exited == 4
    await process.output_ended()
    stopped = await start(reaper, "sleep 600")
    assert await stopped.stop(5) == -signal.SIGTERM
    await stopped.output_ended()


async def test_a_child_that_ignores_sigterm_is_killed(reaper: Reaper) -> None:
    process = await start(reaper, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    while not process.last_lines:
        await asyncio.sleep(0.01)
    assert await process.stop(0.2) == -signal.SIGKILL
    await process.output_ended()


async def test_the_rest_of_the_group_ends_with_its_leader(reaper: Reaper) -> None:
    process = await start(reaper, "sleep 600 & echo $!")
    assert await process.exited == 0
    await process.output_ended()
    wait_gone(int(process.last_lines[0]), 2)


async def test_output_that_an_escaped_process_holds_open_is_not_waited_for(reaper: Reaper) -> None:
    """No mark, no group, no parent: see `kin.py` for where it ends."""
    process = await start(reaper, "env -i setsid sleep 30 & echo $!; sleep 0.3; exit 0")
    await process.exited
    async with asyncio.timeout(2):
        await process.output_ended()
    os.kill(int(process.last_lines[0]), signal.SIGKILL)


async def test_standard_input_is_empty(reaper: Reaper) -> None:
    process = await start(reaper, "cat; echo end")
    assert await process.exited == 0
    await process.output_ended()
    assert list(process.last_lines) == ["end"]


async def test_the_reaper_kills_what_is_left() -> None:
    reaper = Reaper()
    processes = [await start(reaper, "sleep 600") for _ in range(3)]
    processes[1].kill()
    await processes[1].exited
    reaper.close()
    for process in processes:
        await process.exited
        await process.output_ended()
        assert not is_alive(process.pid)
    reaper.close()


async def test_a_reaper_that_was_killed_is_replaced() -> None:
    reaper = Reaper()
    first = await start(reaper, "sleep 600")
    reaper._process.kill()
    reaper._process.wait()
    second = await start(reaper, "sleep 600")
    third = await start(reaper, "exit 3")
    assert await third.exited == 3
    reaper.close()
    for process in (first, second, third):
        await process.exited
        await process.output_ended()
        assert not is_alive(process.pid)


async def test_a_program_that_cannot_be_run(reaper: Reaper) -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        await ChildProcess.start(["/no/such/program"], Path("/"), os.environ, reaper, lambda *_: None)
    with pytest.raises(OSError, match="nowhere"):
        await ChildProcess.start(["/bin/true"], Path("/nowhere"), os.environ, reaper, lambda *_: None)


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="scheduling policies are Linux's")
async def test_a_worker_and_its_children_do_not_push_us_aside(reaper: Reaper) -> None:
    process = await start(reaper, "sleep 600 & echo $!; wait")
    while not process.last_lines:
        await asyncio.sleep(0.01)
    assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH
    assert os.sched_getscheduler(int(process.last_lines[0])) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) != os.SCHED_BATCH
    await process.stop(5)
    await process.output_ended()


async def test_a_line_without_an_end_is_shown_after_a_moment(reaper: Reaper) -> None:
    process = await start(reaper, "printf 'Selection: '; sleep 600")
    for _ in range(300):
        if process.last_lines:
            break
        await asyncio.sleep(0.01)
    assert list(process.last_lines) == ["Selection: "]
    await process.stop(5)
    await process.output_ended()
