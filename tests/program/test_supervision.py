"""Workers that are replaced before they fail, and reloaded: none of it costs a request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from faucet.control.client import NoRuntime, Refusal
from faucet.settings import WorkerSettings
from faucet.workers.recycle import Recycler
from faucet.workers.slot import Slot
from faucet.workers.watched import is_log
from tests.support.load import Load, fetch
from tests.support.running import WORKERS, Faucet, python_worker
from tests.support.status import control, pids, states, until

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")
LEAKY = python_worker("leaky")


@contextlib.asynccontextmanager
async def loaded(service: Faucet, clients: int = 3) -> AsyncIterator[Load]:
    """A load during which nothing may fail."""
    load = Load(service.port, clients)
    yield load
    await load.end()


async def test_sighup_without_a_terminal_is_a_rolling_restart(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2")
    before = service.wait_workers(2)
    async with loaded(service):
        service.signal(signal.SIGHUP)
        await asyncio.to_thread(service.wait_line, "rolling restart: all 2 workers are replaced")
    assert not set(before.values()) & set(service.worker_pids.values())
    assert "requested by SIGHUP" in service.output


async def test_a_roll_in_batches(faucet: Start) -> None:
    program = f"sh -c 'sleep 0.3; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "5", "--roll-batch", "2")
    service.wait_workers(5)
    async with control(service) as client, loaded(service):
        await client.ask("rolling-restart")
        notices = set()
        while notice := (await client.ask("status"))["service"]["notice"]:
            notices.add(notice)
            await asyncio.sleep(0.02)
    assert notices == {f"rolling restart: {done} of 5, worker {now}" for done, now in
                       ((0, "1, 2"), (2, "3, 4"), (4, "5"))}  # fmt: skip


async def test_a_worker_that_has_exited_is_not_called_ready_while_its_children_are_ended(faucet: Start) -> None:
    """They have half a second for that, and this one ignores SIGTERM."""
    program = f"sh -c '(trap \"\" TERM; sleep 60) & exec {COUNTING}'"
    service = faucet("--command", program, "-w", "1")
    pid = service.wait_workers(1)[1]
    seen = []
    async with control(service) as client:
        os.kill(pid, signal.SIGKILL)
        await until(client, "exited", lambda s: s["workers"][0]["state"] == "draining")
        asked = asyncio.ensure_future(fetch(service.port, "/", "POST", b"x"))
        while (row := (await client.ask("status"))["workers"][0])["pid"] == pid:
            seen.append((row["state"], row["reason"].partition(" after")[0]))  # for a moment it waits for its successor
            await asyncio.sleep(0.02)
        assert (await asked)[0] == 200, "it has waited for the next one"
    assert set(seen) <= {(state, "was killed by SIGKILL") for state in ("draining", "backoff")}


async def test_max_requests(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2", "--max-requests", "100")
    before = service.wait_workers(2)
    async with loaded(service):
        for _ in range(2):
            await asyncio.to_thread(service.wait_line, r"replaced after 1?[0-9]+ requests \(--max-requests\)")
    assert set(before.values()) != set(service.worker_pids.values())


async def test_max_age_one_after_the_other(faucet: Start) -> None:
    program = f"sh -c 'sleep 0.5; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "3", "--max-age", "2s")
    service.wait_workers(3)
    async with control(service) as client, loaded(service):
        coming = 0
        for _ in range(150):
            status = await client.ask("status")
            coming = max(coming, sum("+" in row["name"] for row in status["workers"]))
            await asyncio.sleep(0.02)
    assert coming == 1, "never two at once"
    assert "(--max-age)" in service.output


async def test_max_rss(faucet: Start) -> None:
    service = faucet("--command", LEAKY, "-w", "2", "--max-rss", "80MiB")
    service.wait_workers(2)
    largest = 0
    async with control(service) as client:
        for _ in range(120):
            assert (await fetch(service.port, "/leak"))[0] == 200
            for pid in pids(await client.ask("status")).values():
                with contextlib.suppress(psutil.Error):
                    largest = max(largest, psutil.Process(pid).memory_info().rss)
            await asyncio.sleep(0.05)
        await until(client, "done", lambda s: len(s["workers"]) == 2)
    assert "(--max-rss)" in service.output
    assert largest < 400 << 20, "120 requests leak 600 MB"


async def test_max_rss_below_the_size_of_a_fresh_worker_is_told_once_and_replaces_nobody(faucet: Start) -> None:
    """Until the code changes: a rolling restart tries anew."""
    service = faucet("--command", COUNTING, "-w", "2", "--max-rss", "2MiB", "--max-age", "0")
    before = service.wait_workers(2)
    await asyncio.to_thread(service.wait_line, r"--max-rss 2MiB is less than .* this one has .*, before its first")
    async with control(service) as client, loaded(service):
        assert pids(await client.ask("status")) == {str(number): pid for number, pid in before.items()}
        assert "all 2 workers" in await client.ask("rolling-restart", wait=True, patience=20)
        await asyncio.to_thread(service.wait_line, r"--max-rss 2MiB is less than .*, after [0-9]+ requests")
    assert service.output.count("is less than a fresh worker needs") == 2
    assert service.output.count("(--max-rss)") <= 2 * 2, "two replacements, each with the end of its predecessor"


def some_life(served: int) -> Any:
    """A worker that has been in service for a minute; negative: and was too large whenever it was looked at."""

    class SomeLife:
        in_service, ready_at, began, jitter, served_before, lease = True, monotonic() - 60, 0.0, 1.0, 0, None
        healthy = True

    life = SomeLife()
    life.served = abs(served)  # type: ignore[attr-defined]
    return life


@pytest.mark.parametrize(
    ("served", "replaced"),
    [
        ([2, 2, 2, 2, 2], 2),  # too large with its first requests, each of them
        ([0, 5000], 0),  # before the first: nothing else is needed to be sure
        ([2, 5000, 2, 5000, 3, 700], 6),  # one that grew between shows that the limit makes sense
        ([5000] * 9, 9),
        ([-5000] * 9, 2),
    ],
)
def test_replacements_that_are_too_large_again_come_to_an_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, served: list[int], replaced: int
) -> None:
    sizes: Iterator[int] = iter(())
    monkeypatch.setattr("faucet.workers.recycle._resident", lambda life: next(sizes, 200 << 20))
    settings = WorkerSettings(max_rss=100 << 20)

    async def worn() -> int:
        nonlocal sizes
        context = cast("Any", SimpleNamespace(settings=settings, served=lambda _: cast("Any", slot.instance).served))
        slot = Slot(1, context, cast("Any", None))
        recycler = Recycler(cast("Any", SimpleNamespace(context=context)))
        count = 0
        for number in served:
            slot.instance = some_life(number)
            if number > 0:
                sizes = iter([90 << 20])
                assert not recycler.why_replace(slot)
            count += bool(recycler.why_replace(slot))
        for _ in range(3):
            recycler.why_replace(slot)
        return count

    with caplog.at_level("WARNING", "faucet"):
        assert asyncio.run(worn()) == replaced
    assert len(caplog.records) == (replaced < len(served))


async def test_nothing_is_recycled_while_many_wait(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--max-requests", "1")
    service.wait_workers(1)
    waiting = [asyncio.ensure_future(fetch(service.port, "/slow?0.5")) for _ in range(7)]
    await asyncio.sleep(2.2)
    assert "(--max-requests)" not in service.output
    assert {answer[0] for answer in await asyncio.gather(*waiting)} == {200}
    await asyncio.to_thread(service.wait_line, "--max-requests")


async def test_health(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", LEAKY, "-w", "1", "--health-path", "/health", "--health-interval", "1s")
    before = service.wait_workers(1)
    (tmp_path / "ill").touch()
    await asyncio.to_thread(service.wait_line, r"worker 1: unhealthy, 3 of 3: GET /health was answered with 500")
    (tmp_path / "ill").unlink()
    await asyncio.to_thread(service.wait_line, "ready on port")
    assert service.worker_pids != before
    async with control(service) as client:
        slow = asyncio.ensure_future(fetch(service.port, "/slow?2.5"))
        await until(client, "busy", lambda s: states(s) == ["1 busy"])
        assert (await slow)[0] == 200
        assert await fetch(service.port, "/offences") == (200, b"0"), "a busy worker is not asked"


async def test_a_worker_that_does_not_answer_its_health_check_is_hung(
    monkeypatch: pytest.MonkeyPatch, faucet: Start, tmp_path: Path
) -> None:
    service = faucet("--command", LEAKY, "-w", "2", "--health-path", "/health", "--health-interval", "1s")
    before = service.wait_workers(2)
    (tmp_path / "dumb").touch()
    await asyncio.to_thread(service.wait_line, "did not answer GET /health within 10 s; it is killed and replaced")
    (tmp_path / "dumb").unlink()
    async with control(service) as client:
        await until(client, "back", lambda s: len(pids(s)) == 2 and set(pids(s).values()) != set(before.values()))


async def test_the_lock_of_a_hung_health_check_is_not_given_to_the_next(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", LEAKY, "-w", "1", "--health-path", "/health", "--health-interval", "1s")
    before = service.wait_workers(1)
    (tmp_path / "dumb").touch()
    async with control(service) as client:
        await until(client, "asked", lambda s: s["workers"][0]["request"] == "GET /health")
        post = asyncio.ensure_future(fetch(service.port, "/pid", method="POST", body=b"x"))
        await until(client, "waiting", lambda s: s["totals"]["waiting"] == 1)
        (tmp_path / "dumb").unlink()
        status, pid = await post
    assert status == 200, "a POST may be handed out once only, and not to a worker that is stuck"
    assert int(pid) != before[1]


async def test_a_health_check_ends_with_the_answer_and_with_the_service(faucet: Start) -> None:
    """This worker keeps its connections open, whatever it is asked."""
    service = faucet(
        "--command", python_worker("blocking"), "-w", "1", "--health-path", "/5", "--health-interval", "1s"
    )
    service.wait_workers(1)
    async with control(service) as client:
        await until(client, "asked", lambda s: s["totals"]["locked"] == 1)
        await until(client, "free", lambda s: s["totals"]["locked"] == 0)
        await until(client, "asked", lambda s: s["totals"]["locked"] == 1)
    began = asyncio.get_running_loop().time()
    assert await asyncio.to_thread(service.stop) == 0
    assert asyncio.get_running_loop().time() - began < 3
    assert "unhealthy" not in service.output


async def test_ill_workers_are_replaced_one_after_the_other(faucet: Start, tmp_path: Path) -> None:
    program = f"sh -c 'sleep 0.5; exec {LEAKY}'"
    service = faucet("--command", program, "-w", "3", "--health-path", "/health", "--health-interval", "1s")
    service.wait_workers(3)
    (tmp_path / "ill").touch()
    async with control(service) as client:
        await until(client, "replaced", lambda s: any("+" in row["name"] for row in s["workers"]))
        (tmp_path / "ill").unlink()
        coming = 0
        for _ in range(100):
            status = await client.ask("status")
            coming = max(coming, sum("+" in row["name"] for row in status["workers"]))
            await asyncio.sleep(0.02)
    assert coming <= 1


async def test_slow_starters_are_not_charged_with_what_their_predecessors_served(faucet: Start) -> None:
    program = f"sh -c 'sleep 2; exec {COUNTING}'"
    service = faucet("--command", program, "-w", "2", "--max-requests", "200")
    service.wait_workers(2)
    load = Load(service.port, 1, pause=0)
    for _ in range(3):
        line = await asyncio.to_thread(service.wait_line, r"worker (?P<n>\d): replaced after (?P<served>\d+) requests")
        assert int(line["served"]) >= 180
    await load.end()
    assert {line.split("worker ")[1][0] for line in service.lines if "replaced after" in line} == {"1", "2"}


async def test_what_is_held_is_left_alone(faucet: Start) -> None:
    service = faucet("--command", COUNTING, "-w", "2", "--max-age", "1s")
    before = service.wait_workers(2)
    async with control(service) as client:
        await client.ask("hold", worker="1")
        await until(client, "replaced", lambda s: pids(s).get("2") not in (None, before[2]))
        await asyncio.sleep(1.5)
        assert pids(await client.ask("status"))["1"] == before[1]


async def test_a_roll_that_the_end_of_the_service_breaks_off_has_not_succeeded(faucet: Start) -> None:
    service = faucet("--command", f"sh -c 'sleep 1; exec {COUNTING}'", "-w", "3")
    service.wait_workers(3)
    async with control(service) as client:
        rolled = asyncio.ensure_future(client.ask("rolling-restart", wait=True, patience=30))
        await asyncio.sleep(0.3)
        service.signal(signal.SIGTERM)
        with pytest.raises((Refusal, NoRuntime)):
            await rolled
    assert "are replaced" not in service.output


async def test_a_second_sighup_is_not_forgotten(faucet: Start) -> None:
    service = faucet("--command", f"sh -c 'sleep 0.3; exec {COUNTING}'", "-w", "2")
    service.wait_workers(2)
    service.signal(signal.SIGHUP)
    await asyncio.to_thread(service.wait_line, "requested by SIGHUP")
    service.signal(signal.SIGHUP)
    for _ in range(2):
        await asyncio.to_thread(service.wait_line, "all 2 workers are replaced")


def test_which_files_are_the_log(tmp_path: Path) -> None:
    log = tmp_path / "app"
    names = ("app", "app.1", "app.12", "app.py", "app.R", "apple", "x")
    assert [name for name in names if is_log(tmp_path / name, log)] == ["app", "app.1", "app.12"]
    (tmp_path / "link").symlink_to(tmp_path)
    assert is_log(tmp_path / "link" / "app", log)
    assert not is_log(tmp_path / "app", None)


async def test_a_directory_that_is_made_anew_is_watched_again(faucet: Start, tmp_path: Path) -> None:
    api = tmp_path / "api"
    api.mkdir()
    service = faucet("--command", COUNTING, "-w", "1", "--dir", "api", "--reload").wait_ready()
    await asyncio.sleep(0.5)
    api.rename(tmp_path / "old")
    await asyncio.to_thread(service.wait_line, "is gone: no reload until it is back")
    api.mkdir()
    await asyncio.to_thread(service.wait_line, "requested by a new api")
    await asyncio.to_thread(service.wait_line, "(is|are) replaced")
    await asyncio.sleep(0.5)
    (api / "x.py").touch()
    await asyncio.to_thread(service.wait_line, "requested by a change of x.py")


async def test_reload(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text("old")
    (tmp_path / "app.py").write_text(
        "import counting, os\ntext = open('answer.json').read()\nassert text != 'broken', 'my app is broken'\n"
        "class Handler(counting.Handler):\n  def serve(self, alone):\n    self.send_response(200)\n"
        "    self.send_header('Content-Length', str(len(text)))\n    self.end_headers()\n"
        "    self.wfile.write(text.encode())\n"
        "Handler.listen()\n"
    )
    service = faucet("--command", f"env PYTHONPATH={WORKERS} {sys.executable} app.py", "-w", "2", "--reload",
                     "--log-file", "log")  # fmt: skip
    service.port = await service.listening_port()
    log = tmp_path / "log"

    async def logged(text: str, times: int = 1) -> None:
        for _ in range(400):
            if log.read_text().count(text) >= times:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(log.read_text())

    await logged("ready on port", 2)
    await asyncio.sleep(0.5)  # the watcher is up
    async with loaded(service, 2):
        (tmp_path / "answer.json").write_text("new")
        await logged("all 2 workers are replaced")
        assert (await fetch(service.port, "/"))[1] == b"new"
        (tmp_path / "answer.json").write_text("broken")
        why = "rolling restart stopped at worker 1: AssertionError: my app is broken; the old workers stay. "
        await logged(f"{why}The replacement exited with code 1")
        assert (await fetch(service.port, "/"))[1] == b"new"
        (tmp_path / ".hidden").touch()
        (tmp_path / "answer.json").write_text("mended")
        await logged("all 2 workers are replaced", 2)
        assert (await fetch(service.port, "/"))[1] == b"mended"
    assert "requested by a change of answer.json" in log.read_text()
    assert "hidden" not in log.read_text()


def test_sigusr1_opens_the_log_anew(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--log-file", "log")
    port = asyncio.run(service.listening_port())
    (tmp_path / "log").rename(tmp_path / "old")
    service.signal(signal.SIGUSR1)
    for _ in range(100):
        asyncio.run(fetch(port, "/"))
        if (tmp_path / "log").exists():
            break
        threading.Event().wait(0.05)
    assert service.stop() == 0
    assert "stopped; every request" in (tmp_path / "log").read_text()
    assert "starting 1 worker" in (tmp_path / "old").read_text()


def test_a_log_that_is_rotated_while_it_serves(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", COUNTING, "-w", "1", "--log-file", "log", "--log-max-size", "4KiB", "--log-keep", "3")
    port = asyncio.run(service.listening_port())
    for _ in range(400):
        asyncio.run(fetch(port, "/quick"))
    assert service.stop() == 0
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("log*")}
    assert set(sizes) == {"log", "log.1", "log.2", "log.3"}
    assert max(sizes.values()) <= 32 << 10, "a batch of lines is not torn apart"
