"""The web server of the monitor: its gate, its page, and a process for each browser, which ends with it."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("textual_serve")

from aiohttp.test_utils import TestClient, TestServer

from faucet.net.address import Address
from faucet.web import server as web_server
from faucet.web.gate import Gate
from faucet.web.server import MonitorServer

TOKEN = "a-token-of-24-characters"

PROGRAM = """
import sys
sys.stdout.write("__GANGLION__\\n")
sys.stdout.write("D\\0\\0\\0\\5hello")
sys.stdout.flush()
sys.stdin.read(1)
"""
"""What the server takes for a monitor: it says hello, and ends with its input."""

Client = TestClient[Any, Any]


class Served:
    """A server, and clients of it."""

    def __init__(self, token: str) -> None:
        command = shlex.join([sys.executable, "-c", PROGRAM])
        command = f"exec {command}"
        self.monitors = MonitorServer(command, Address("127.0.0.1", 8081), "faucet", Gate(token))
        self.client: Client

    async def open(self) -> None:
        """Serve."""
        self.client = TestClient(TestServer(await self.monitors.application()))
        await self.client.start_server()


@pytest.fixture
async def served() -> AsyncIterator[Any]:
    opened: list[Served] = []

    async def serve(token: str = "") -> Served:
        opened.append(Served(token))
        await opened[-1].open()
        return opened[-1]

    yield serve
    for each in opened:
        await each.client.close()
        assert not each.monitors._browsers


async def test_the_page_is_whole_and_asks_nobody_else(served: Any) -> None:
    client = (await served()).client
    page = await client.get("/", headers={"Host": "localhost:9000"})
    text = await page.text()
    assert page.status == 200
    assert 'data-session-websocket-url="ws://localhost:9000/ws"' in text
    assert "https://" not in text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("js/textual.js", "css/xterm.css", "fonts/RobotoMono-VariableFont_wght.ttf"):
        assert (await client.get(f"/static/{path}")).status == 200
    secure = await client.get("/?fontsize=20", headers={"X-Forwarded-Proto": "https", "Host": "localhost"})
    text = await secure.text()
    assert "wss://localhost/ws" in text
    assert 'data-font-size="20"' in text
    assert 'data-font-size="14"' in await (await client.get('/?fontsize="><script>')).text()


async def test_strangers_stay_outside(served: Any) -> None:
    client = (await served()).client
    assert (await client.get("/", headers={"Host": "evil.example"})).status == 421
    assert (await client.get("/ws", headers={"Origin": "http://evil.example"})).status == 403
    assert (await client.get("/download/1")).status == 404


async def test_a_token_becomes_a_cookie(served: Any) -> None:
    client = (await served(TOKEN)).client
    for path in ("/", "/ws", "/static/js/textual.js"):
        answer = await client.get(path)
        assert answer.status == 401
        assert "needs a token" in await answer.text()
    welcome = await client.get(f"/?token={TOKEN}", allow_redirects=False)
    assert welcome.status == 303
    assert "HttpOnly" in welcome.headers["Set-Cookie"]
    assert "SameSite=Strict" in welcome.headers["Set-Cookie"]
    assert TOKEN not in welcome.headers["Set-Cookie"]
    cookie = {"Cookie": welcome.headers["Set-Cookie"].partition(";")[0]}
    assert (await client.get("/", headers=cookie)).status == 200


async def test_a_browser_gets_a_monitor_of_its_own(served: Any) -> None:
    client = (await served()).client
    first = await client.ws_connect("/ws?width=100&height=30")
    second = await client.ws_connect("/ws")
    for socket in (first, second):
        async with asyncio.timeout(10):
            assert await socket.receive_bytes() == b"hello"
    await first.close()
    await second.close()


async def test_the_end_does_not_wait_for_browsers_and_there_are_only_so_many(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "MOST_BROWSERS", 1)
    stage = await served()
    socket = await stage.client.ws_connect("/ws")
    async with asyncio.timeout(10):
        assert await socket.receive_bytes() == b"hello"
    assert (await stage.client.get("/ws")).status == 503
    async with asyncio.timeout(10):
        await stage.client.server.close()
    assert not stage.monitors._browsers


async def test_a_monitor_that_is_ending_when_the_service_ends_is_waited_for(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its browser has left a moment before."""
    processes: list[asyncio.subprocess.Process] = []
    starting, ending = web_server.AppService.start, asyncio.Event()
    finish = web_server.end

    async def start(monitor: Any, width: int, height: int) -> None:
        await starting(monitor, width, height)
        processes.append(monitor._process)

    async def end(monitor: Any) -> None:
        ending.set()
        await asyncio.sleep(0.2)  # it is still at work when the server ends
        await finish(monitor)

    monkeypatch.setattr(web_server.AppService, "start", start)
    monkeypatch.setattr(web_server, "end", end)
    stage = await served()
    socket = await stage.client.ws_connect("/ws")
    async with asyncio.timeout(10):
        assert await socket.receive_bytes() == b"hello"
        await socket.close()
        await ending.wait()
        await stage.client.server.close()
    assert [process.returncode for process in processes] != [None]
