"""`faucet attach --web` and `--once`, the real program: in a browser, and without any terminal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from tests.support.browser import CHROMIUM, chromium
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]
COUNTING = python_worker("counting")


@contextmanager
def attached(port: int, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A web server for the service on `port`, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faucet", "attach", str(port), "--web", "127.0.0.1:0", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, line + process.stdout.read()
        yield process, match[0]
    finally:
        process.terminate()
        process.communicate(timeout=15)


def monitors_of(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """The monitors that a web server has started, once there are so many."""
    deadline = monotonic() + 20
    while len(found := psutil.Process(process.pid).children(recursive=True)) < count and monotonic() < deadline:
        sleep(0.05)
    return found


async def look(url: str) -> None:
    """Look through a WebSocket until the workers are seen."""
    aiohttp = pytest.importorskip("aiohttp")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}ws?width=100&height=30") as socket,
        asyncio.timeout(30),
    ):
        seen = ""
        while "ready" not in seen or "read only" not in seen:
            seen += (await socket.receive_bytes()).decode("utf-8", "replace")


async def test_a_monitor_in_the_browser_that_ends_with_its_server(faucet: Start) -> None:
    pytest.importorskip("textual_serve")
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    with attached(service.port) as (process, url):
        await look(url)
        looking = asyncio.ensure_future(look(url))
        monitors = await asyncio.to_thread(monitors_of, process, 1)
        assert monitors
        os.kill(process.pid, signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, monitors, 10)
        assert not alive, "a killed server leaves no monitor behind"
        await asyncio.gather(looking, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
async def test_in_a_real_browser(faucet: Start, tmp_path: Path) -> None:
    pytest.importorskip("textual_serve")
    service = faucet("--command", COUNTING, "-w", "1").wait_ready()
    with attached(service.port) as (_, url):
        async with chromium() as page:
            await page.open(url)
            await page.until("document.body.classList.contains('-first-byte')")
            await page.until("document.querySelector('.xterm-screen') !== null")
            await page.click(300, 200)
            await page.type("q")  # leaves, and asks nothing: it is read only
            await page.until("document.body.classList.contains('-closed')")
            assert not page.errors
            assert {address.split("/")[2] for address in page.requested} == {url.split("/")[2]}, "nobody else was asked"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--web", ":0"], 2, "other machines can reach :0: add --web-token auto"),
        (["--web", "127.0.0.1:0", "--web-token", "short"], 2, "at least 16 characters"),
        (["--web", "127.0.0.1:0"], 1, "no running Faucet found on port 1"),
        (["--once"], 1, "no running Faucet found on port 1"),
        (["--svg", "x.svg"], 2, "--svg needs --once"),
    ],
)
def test_what_cannot_be(words: list[str], code: int, said: str) -> None:
    pytest.importorskip("textual_serve")
    result = subprocess.run(
        [sys.executable, "-m", "faucet", "attach", "1", *words], capture_output=True, text=True, check=False
    )
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr


def test_once_as_text_and_as_a_picture(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", COUNTING, "-w", "2").wait_ready()
    command = [sys.executable, "-m", "faucet", "attach", str(service.port), "--once", "--size", "100x20"]
    text = subprocess.run([*command, "--view", "events"], capture_output=True, text=True, check=True).stdout
    assert "1 ○ ready" in text
    assert "2 ○ ready" in text
    assert "worker 1: ready on port" in text
    assert len(text.splitlines()) == 20
    picture = tmp_path / "incident.svg"
    subprocess.run([*command, "--svg", str(picture)], check=True)
    assert picture.read_text().startswith("<svg")
