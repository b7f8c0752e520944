"""Real R, real Plumber: what the facts about it lead one to expect, and what its users need."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import psutil
import pytest
import requests

import faucet.templates.demo
from faucet.workers.ports import free_port
from tests.support.load import Load, fetch, hang_up, read_response
from tests.support.running import Faucet, is_alive, wait_gone

Start = Callable[..., Faucet]
DEMO = str(Path(faucet.templates.demo.__file__).parent)

pytestmark = pytest.mark.usefixtures("plumber")


def test_wrk_gets_only_200_from_both_workers(faucet: Start, tool: Callable[[str], str], tmp_path: Path) -> None:
    service = faucet("--dir", DEMO, "-w", "2")
    pids = service.wait_workers(2)
    script = tmp_path / "pids.lua"
    script.write_text(
        "threads = {}\n"
        "function setup(thread) table.insert(threads, thread) end\n"
        "function init(args) seen = '' end\n"
        "function response(status, headers, body)\n"
        "  local pid = body:match('\"pid\":(%d+)') or '?'\n"
        "  if not seen:find(status .. ':' .. pid, 1, true) then seen = seen .. status .. ':' .. pid .. ' ' end\n"
        "end\n"
        "function done(summary)\n"
        "  for _, thread in ipairs(threads) do print('seen ' .. thread:get('seen')) end\n"
        "end\n"
    )
    words = [tool("wrk"), "-t1", "-c8", "-d5s", "-s", str(script), f"http://127.0.0.1:{service.port}/hello"]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    seen = next(line for line in result.stdout.splitlines() if line.startswith("seen")).split()[1:]
    assert set(seen) == {f"200:{pid}" for pid in pids.values()}
    assert "Non-2xx" not in result.stdout
    assert "Socket errors" not in result.stdout


async def test_four_slow_requests_on_four_workers(faucet: Start) -> None:
    service = faucet("--dir", DEMO, "-w", "4")
    service.wait_workers(4)
    began = monotonic()
    answers = await asyncio.gather(*(fetch(service.port, "/sleep?t=1") for _ in range(4)))
    assert [status for status, _ in answers] == [200] * 4
    assert monotonic() - began < 2, "no two of them one after the other"


@pytest.mark.quiet
async def test_clients_that_leave_do_not_free_a_worker(faucet: Start) -> None:
    """R goes on sleeping for them, so the others' requests take their turn behind that."""
    service = faucet("--dir", DEMO, "-w", "2")
    service.wait_workers(2)

    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET /sleep?t=0.2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.05)
        await hang_up(writer, reset=True)

    async def stay() -> float:
        began = monotonic()
        assert (await fetch(service.port, "/sleep?t=0.2"))[0] == 200
        return monotonic() - began

    for _ in range(3):
        leavers = [asyncio.ensure_future(leave()) for _ in range(2)]
        await asyncio.sleep(0.03)
        # Both workers sleep for clients that are about to leave.
        assert min(await asyncio.gather(stay(), stay())) > 0.3
        await asyncio.gather(*leavers)
    answers = await asyncio.gather(*(fetch(service.port, "/hello") for _ in range(50)))
    assert {status for status, _ in answers} == {200}


async def test_head_and_then_fifty_gets(faucet: Start, tmp_path: Path) -> None:
    """Plumber answers HEAD with a body, in a second send: bytes that must not become the next answer."""
    (tmp_path / "plumber.R").write_text('#* @get /\n#* @head /\n#* @serializer text\nfunction() "whatever"\n')
    service = faucet("-w", "1").wait_ready()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for _ in range(3):
        writer.write(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"Content-Length: 8" in head
        for _ in range(50):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await read_response(reader) == (200, b"whatever")
    await hang_up(writer)


@pytest.mark.quiet
def test_a_killed_worker_is_back_within_three_seconds(faucet: Start) -> None:
    service = faucet("--dir", DEMO, "-w", "2")
    pids = service.wait_workers(2)
    subprocess.run(["kill", "-KILL", str(pids[1])], check=True)
    service.wait_line("worker 1: ready", 3)
    with requests.Session() as session:
        for _ in range(20):
            assert session.get(f"http://127.0.0.1:{service.port}/hello", timeout=5).status_code == 200


def test_sigkill_to_faucet_leaves_no_r(faucet: Start) -> None:
    service = faucet("--dir", DEMO, "-w", "2")
    pids = service.wait_workers(2)
    service.process.kill()
    service.wait_exit()
    for pid in pids.values():
        assert wait_gone(pid, 2) < 2


def test_large_bodies(faucet: Start) -> None:
    service = faucet("--dir", DEMO, "-w", "1").wait_ready()
    url = f"http://127.0.0.1:{service.port}"
    answer = requests.get(f"{url}/large?bytes=20000000", timeout=60)
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(b"x" * 20_000_000).digest()
    content = bytes(range(256)) * 40_000
    headers = {"Content-Type": "application/octet-stream"}
    assert requests.post(f"{url}/size", data=content, headers=headers, timeout=60).json()["bytes"] == len(content)
    pieces = iter([content[:1000], content[1000:50_000], content[50_000:]])
    assert requests.post(f"{url}/size", data=pieces, headers=headers, timeout=60).json()["bytes"] == len(content)


def test_a_hung_r_is_replaced(faucet: Start) -> None:
    service = faucet("--dir", DEMO, "-w", "1", "--request-timeout", "1500ms")  # R's first answer may take half of that
    pids = service.wait_workers(1)
    url = f"http://127.0.0.1:{service.port}"
    answer = requests.get(f"{url}/sleep?t=30", timeout=10)
    assert answer.status_code == 504
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "1.5 s" in answer.json()["detail"]
    service.wait_line("worker 1: ready", 20)
    assert requests.get(f"{url}/hello", timeout=5).status_code == 200
    assert not is_alive(pids[1])


def test_curl_with_http2_upgrade_and_100_continue(faucet: Start, tool: Callable[[str], str]) -> None:
    """httpuv closes the connection on any Upgrade that is not a WebSocket's."""
    service = faucet("--dir", DEMO, "-w", "1").wait_ready()
    url = f"http://127.0.0.1:{service.port}"
    for words in (["--http2", f"{url}/hello"], ["-H", "Expect: 100-continue", "-d", "x=1,2,3", f"{url}/mean"]):
        result = subprocess.run([tool("curl"), "-sSf", *words], capture_output=True, text=True, check=True, timeout=20)
        assert '"pid"' in result.stdout


def test_an_endpoint_error_is_in_the_log(faucet: Start) -> None:
    service = faucet("--dir", DEMO, "-w", "1").wait_ready()
    assert requests.get(f"http://127.0.0.1:{service.port}/error", timeout=10).status_code == 500
    service.wait_line("this endpoint fails on purpose", 5)


def test_entrypoint(faucet: Start, tmp_path: Path) -> None:
    for name in ("plumber.R", "index.html", "docs.html", "favicon.svg"):
        if (Path(DEMO) / name).is_file():
            shutil.copy(Path(DEMO) / name, tmp_path)
    (tmp_path / "entrypoint.R").write_text(
        'library(plumber)\npr("plumber.R") %>%\n  pr_run(port = as.integer(Sys.getenv("FAUCET_PORT")))\n'
    )
    service = faucet("-w", "1").wait_ready()
    assert "(entrypoint.R)" in service.output
    assert requests.get(f"http://127.0.0.1:{service.port}/hello", timeout=10).json()["hello"] == "world"


def test_a_hard_coded_port_is_named(faucet: Start, tmp_path: Path) -> None:
    port = free_port(set())  # one that plumber takes: since 1.3 it refuses half of those that the kernel chooses
    (tmp_path / "plumber.R").write_text("#* @get /\nfunction() 1\n")
    (tmp_path / "entrypoint.R").write_text(f'library(plumber)\npr("plumber.R") %>% pr_run(port = {port})\n')
    service = faucet("-w", "1")
    line = service.wait_line("listens on port", 20).string
    assert f"listens on port {port}, not on" in line
    assert "FAUCET_PORT" in line
    assert service.stop() == 0
    service = faucet("-w", "2")
    assert service.wait_exit(30) == 1
    assert f"listens on port {port}, not on" in service.output.rpartition("faucet: ")[2]


def test_an_r_error_at_start_is_shown(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "entrypoint.R").write_text("library(notthere)\n")
    service = faucet("-w", "1")
    assert service.wait_exit(30) == 1
    assert "there is no package called" in service.output
    assert 'install.packages("notthere")' in service.output


def test_demo(faucet: Start) -> None:
    service = faucet("demo", "-w", "1").wait_ready()
    assert "by Plumber" in service.output
    assert requests.get(f"http://127.0.0.1:{service.port}/hello?name=x", timeout=10).json()["hello"] == "x"


@pytest.mark.quiet
async def test_kept_connections_do_not_wait_for_delayed_acknowledgements(faucet: Start) -> None:
    """45 ms instead of 2.4 ms per request otherwise, each of them."""
    service = faucet("--dir", DEMO, "-w", "1").wait_ready()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    times = []
    for _ in range(40):
        began = monotonic()
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        await read_response(reader)
        times.append(monotonic() - began)
    await hang_up(writer)
    assert sorted(times)[20] < 0.02


def test_python_worker_and_plumber_agree_on_the_demo(faucet: Start) -> None:
    """The two demo programs have the same endpoints."""
    import sys

    by_python = faucet("--dir", DEMO, "--command", f"{sys.executable} app.py", "-w", "1").wait_ready()
    by_plumber = faucet("--dir", DEMO, "-w", "1").wait_ready()
    for target in ("/hello", "/hello?name=x", "/sleep?t=0.01", "/large?bytes=10"):
        answers = [requests.get(f"http://127.0.0.1:{s.port}{target}", timeout=10) for s in (by_python, by_plumber)]
        if target.startswith("/large"):
            assert answers[0].text == answers[1].text
        else:
            first, second = [{**answer.json(), "pid": 0} for answer in answers]
            assert first == second
    for target, form in (("/mean", "x=1,2,3"), ("/size", "hello")):
        kind = "application/x-www-form-urlencoded" if "=" in form else "application/octet-stream"
        answers = [
            requests.post(f"http://127.0.0.1:{s.port}{target}", data=form, headers={"Content-Type": kind}, timeout=10)
            for s in (by_python, by_plumber)
        ]
        first, second = [{**answer.json(), "pid": 0} for answer in answers]
        assert first == second


API = """#* @get /
#* @serializer text
function() "{answer}"

#* @get /leak
function() {{ kept[[length(kept) + 1]] <<- runif(4e6); length(kept) }}
"""


@pytest.mark.quiet
async def test_reload_under_load(faucet: Start, tmp_path: Path) -> None:
    """New code within 5 s, or on a slow machine four times what the start took; a syntax error leaves the old workers
    serving, and R's message is in the log."""
    code = tmp_path / "plumber.R"
    code.write_text("kept <- list()\n" + API.format(answer="old"))
    started = monotonic()
    service = faucet("-w", "2", "--reload")
    service.wait_workers(2)
    patience = max(5.0, 4 * (monotonic() - started))
    await asyncio.sleep(0.5)  # the watcher is up
    load = Load(service.port, 4)
    code.write_text("kept <- list()\n" + API.format(answer="new"))
    changed = monotonic()
    while (await fetch(service.port, "/"))[1] != b"new":
        assert monotonic() - changed < patience
        await asyncio.sleep(0.05)
    await asyncio.to_thread(service.wait_line, "rolling restart: all 2 workers are replaced")
    assert monotonic() - changed < patience
    code.write_text('function( "this is no R\n')
    first = re.compile("rolling restart stopped at worker 1: .*unexpected .*; the old workers stay")
    await asyncio.to_thread(service.wait_line, first)
    assert (await fetch(service.port, "/"))[1] == b"new"
    await load.end()


async def test_max_rss_with_an_endpoint_that_leaks(faucet: Start, tmp_path: Path) -> None:
    (tmp_path / "plumber.R").write_text("kept <- list()\n" + API.format(answer="x"))
    service = faucet("-w", "2", "--max-rss", "200MiB")
    service.wait_workers(2)
    load = Load(service.port, 2)
    largest = 0
    for _ in range(60):
        if service.output.count("(--max-rss)") >= 2:
            break
        assert (await fetch(service.port, "/leak"))[0] == 200
        for pid in service.worker_pids.values():
            with contextlib.suppress(psutil.Error):
                largest = max(largest, psutil.Process(pid).memory_info().rss)
        await asyncio.sleep(0.1)
    await load.end()
    assert service.output.count("(--max-rss)") >= 2
    assert largest < 900 << 20, "60 requests leak 1.9 GB"
