"""--preload: workers that are forked from one R are as any others, share its memory, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from faucet.control.client import Refusal
from faucet.workers.kin import read_process, scan
from tests.support.family import wait_reaped
from tests.support.load import Load, fetch
from tests.support.running import Faucet, is_alive, wait_gone
from tests.support.status import control, until

pytestmark = [
    pytest.mark.usefixtures("plumber"),
    pytest.mark.skipif(sys.platform != "linux", reason="--preload needs Linux"),
]

Start = Callable[..., Faucet]

API = """
set.seed(1)
cat("loading\\n")
loaded <- tempfile()
writeLines("from the template", loaded)
options(faucet.on_fork = function() { opened <<- Sys.getpid(); cat("opened in", opened, "\\n") })
#* @get /
#* @serializer unboxedJSON
function(n = "") {
  list(pid = Sys.getpid(), opened = opened, seed = runif(1), tempdir = tempdir(), loaded = readLines(loaded), n = n,
       port = Sys.getenv("FAUCET_PORT"), id = Sys.getenv("FAUCET_WORKER_ID"), version = 1,
       child = system("echo $FAUCET_INSTANCE", intern = TRUE))
}
#* @get /quit
function() quit(status = 3)
#* @get /segv
function() tools::pskill(Sys.getpid(), 11)
#* @get /child
#* @serializer text
function() system("sleep 1000 > /dev/null 2>&1 & echo $!", intern = TRUE)
#* @plumber
function(pr) pr$registerHook("exit", function() cat("exit hook ran\\n"))
"""

TEMPLATE = re.compile(r"the template \(pid (?P<pid>[0-9]+)\) has loaded the API")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What TMPDIR names."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def serve(faucet: Start, tmp_path: Path, workers: int, *options: str, api: str = API) -> Faucet:
    (tmp_path / "plumber.R").write_text(api)
    service = faucet("--preload", "-w", str(workers), *options)
    service.wait_workers(workers)
    return service


def template_pid(service: Faucet) -> int:
    """Of the newest one."""
    return int([match for line in service.lines if (match := TEMPLATE.search(line))][-1]["pid"])


async def answer(service: Faucet, target: str = "/") -> Any:
    status, body = await fetch(service.port, target)
    assert status == 200, body
    return json.loads(body)


async def test_workers_are_as_any_others(faucet: Start, tmp_path: Path, temporary: Path) -> None:
    service = serve(faucet, tmp_path, 2)
    first, second = [await answer(service) for _ in range(2)]
    assert service.output.count("template out | loading") == 1
    assert {first["pid"], second["pid"]} == set(service.worker_pids.values())
    assert first["seed"] != second["seed"]
    for one in (first, second):
        process = read_process(one["pid"])
        assert process is not None
        assert (process.parent, process.session, process.group) == (service.process.pid, one["pid"], one["pid"])
        assert one["opened"] == one["pid"]
        assert one["loaded"] == "from the template"
        assert Path(one["tempdir"]).parent.name.startswith(f"worker-{one['id']}-")
        assert int(one["port"]) in {c.laddr.port for c in psutil.Process(one["pid"]).net_connections()}
        assert f"worker {one['id']} out | opened in {one['pid']}" in service.output
        shared = {link for link in links(one["pid"]) if link.startswith("pipe:")} & set(links(template_pid(service)))
        assert len(shared) <= 2, "the two of the package later: no order, report or output of the template's"
    assert first["child"] != second["child"], "what they start has marks of their own"
    async with control(service) as client:
        await client.ask("restart", worker="1")
        await asyncio.to_thread(service.wait_line, r"worker 1 stopped after .* \(restarted by")
    assert "worker 1 out | exit hook ran" in service.output
    child = int((await fetch(service.port, "/child"))[1])
    template = template_pid(service)
    assert service.stop() == 0
    wait_gone(child)
    assert not is_alive(template)
    assert list(temporary.iterdir()) == []


def links(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()))
    return found


async def test_exits_are_told_and_workers_are_back_at_once(faucet: Start, tmp_path: Path) -> None:
    service = serve(faucet, tmp_path, 1)
    for target, said in (("/quit", "exited with code 3"), ("/segv", r"crashed \(SIGSEGV\)")):
        assert (await fetch(service.port, target))[0] == 502
        await asyncio.to_thread(service.wait_line, f"worker 1 {said} while serving GET {target}")
        if target == "/segv":
            async with control(service) as client:
                await client.ask("restart", worker="1")
        await answer(service)
    wait_reaped(service.process.pid)


async def test_without_its_template_a_worker_goes_on(faucet: Start, tmp_path: Path) -> None:
    service = serve(faucet, tmp_path, 1)
    before = (await answer(service))["pid"]
    old = template_pid(service)
    os.kill(old, signal.SIGKILL)
    await asyncio.to_thread(service.wait_line, rf"the template \(pid {old}\) has ended")
    await asyncio.to_thread(service.wait_line, TEMPLATE)
    assert (await answer(service))["pid"] == before
    os.kill(before, signal.SIGKILL)
    await asyncio.to_thread(service.wait_line, "worker 1: ready on port")
    assert (await answer(service))["pid"] != before


async def test_a_rolling_restart_loads_anew_and_a_failure_costs_nothing(faucet: Start, tmp_path: Path) -> None:
    service = serve(faucet, tmp_path, 2)
    old = template_pid(service)
    async with control(service) as client:
        (tmp_path / "plumber.R").write_text("stop('a mistake')")
        with pytest.raises(Refusal, match="a mistake") as caught:
            await client.ask("rolling-restart", wait=True, patience=None)
        first, *lines = str(caught.value).splitlines()
        assert "a mistake; the old workers stay. The template exited with code 1 before the API listened" in first
        assert lines, "the last lines of its output"
        assert is_alive(old)
        victim = (await answer(service))["pid"]
        os.kill(victim, signal.SIGKILL)
        await asyncio.to_thread(service.wait_line, "worker . was killed by SIGKILL")
        await until(client, "back", lambda status: all(row["state"] == "ready" for row in status["workers"]))
        assert (await answer(service))["version"] == 1, "it is forked from the old template"
        load = Load(service.port, 2)
        (tmp_path / "plumber.R").write_text(API.replace("version = 1", "version = 2"))
        await client.ask("rolling-restart", wait=True, patience=None)
        await load.end()
    assert {(await answer(service))["version"] for _ in range(4)} == {2}
    wait_gone(old)


async def test_an_entrypoint_that_runs_itself(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "entrypoint.R").write_text(
        """
        closeAllConnections()
        port <- as.integer(Sys.getenv("FAUCET_PORT"))
        api <- plumber::pr_get(plumber::pr(), "/", function() sys.call(1)[[1]] == "f")
        f <- function() plumber::pr_run(api, port = port)
        f()
        cat("the end of the script\\n")
        """
    )
    service = faucet("--preload", "-w", "2")
    service.wait_workers(2)
    assert await answer(service) == [True]
    assert service.stop() == 0
    assert "syntax error" not in service.output


SHARED = """
old <- later::later
con <- structure(list(), class = c("PqConnection", "DBIConnection"))
api <- plumber::pr()
s <- socketConnection(port = {port}, blocking = TRUE)
database <- file("{database}", "rb")
sleeper <- processx::process$new("sleep", "1000")
later::later(function() NULL, 1000)
plumber::pr_run(api, port = as.integer(Sys.getenv("FAUCET_PORT")))
"""


async def test_what_must_not_be_shared_is_refused_with_its_name(faucet: Start, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        database.execute("create table t (x)")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = SHARED.format(port=port, database=tmp_path / "a.sqlite")
        (tmp_path / "entrypoint.R").write_text(text)
        service = faucet("--preload", "-w", "2")
        assert await asyncio.to_thread(service.wait_exit) == 1
    for name in (
        "con (PqConnection)", f"the TCP connection to 127.0.0.1:{port}", f"the database {tmp_path / 'a.sqlite'}",
        "(sleep), which it has started", 'the connection sockconn("->localhost:', "1 thread (R; packages",
        "faucet.on_fork",
    ):  # fmt: skip
        assert name in service.output
    assert service.output.count("the API cannot be preloaded") <= 3, "each worker says so, and the end: no other try"


async def test_a_fixed_port_is_refused(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "entrypoint.R").write_text("plumber::pr_run(plumber::pr(), port = 8123)")
    service = faucet("--preload", "-w", "1")
    assert await asyncio.to_thread(service.wait_exit) == 1
    assert "the API cannot be preloaded: it listens on port 8123, which is fixed" in service.output


@pytest.mark.slow
async def test_workers_and_templates_are_killed_under_load(faucet: Start, tmp_path: Path, temporary: Path) -> None:
    """Each answer is for its own request, each death costs one at most, and at the end no process is too many."""
    service = serve(faucet, tmp_path, 3)
    source = random.Random(1)
    ends, wrong, broken = False, [], 0

    async def customer(number: int) -> None:
        nonlocal broken
        while not ends:
            number += 10
            try:
                status, body = await fetch(service.port, f"/?n={number}")
            except (OSError, asyncio.IncompleteReadError):
                status, body = 502, b""
            if status == 502:
                broken += 1
            elif status != 200 or json.loads(body)["n"] != str(number):
                wrong.append((number, status, body))

    customers = [asyncio.ensure_future(customer(number)) for number in range(6)]
    deaths = 0
    for _ in range(12):
        await asyncio.sleep(source.uniform(0.05, 0.3))
        victims = [template_pid(service), *service.worker_pids.values()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(source.choice(victims), signal.SIGKILL)
            deaths += 1
    async with control(service) as client:
        await client.ask("restart", worker="all")
        status = await until(client, "back", lambda status: all(r["state"] in "ready busy" for r in status["workers"]))
        ends = True
        await asyncio.gather(*customers)
        status = await until(client, "idle", lambda status: all(not row["locked"] for row in status["workers"]))
    assert not wrong
    assert broken <= deaths
    wait_reaped(service.process.pid)
    children = {process.pid for process in scan(1 << 60).values() if process.parent == service.process.pid}
    reaper_and_template = 2
    assert len(children - {row["pid"] for row in status["workers"]}) <= reaper_and_template
    assert service.stop() == 0
    assert list(temporary.iterdir()) == []
