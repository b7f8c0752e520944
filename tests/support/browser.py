"""A real Chromium without a window, asked over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page of a browser."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.requested: list[str] = []
        """The addresses that the page has asked for."""
        self.errors: list[str] = []
        """What its scripts have failed at, and what its policy has forbidden."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of DevTools; return its result."""
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        async with asyncio.timeout(20):
            while (message := json.loads(await self._socket.recv())).get("id") != self._number:
                self._hear(message)
        return dict(message["result"])

    def _hear(self, message: dict[str, Any]) -> None:
        method, details = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(details["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(details))
        elif method == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(details["entry"]["text"])

    async def open(self, url: str) -> None:
        """Go to `url`."""
        for domain in ("Network", "Runtime", "Log", "Page"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def until(self, script: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true in the page."""
        async with asyncio.timeout(seconds):
            while not (await self.call("Runtime.evaluate", expression=script))["result"].get("value"):
                await asyncio.sleep(0.1)

    async def click(self, x: int, y: int) -> None:
        """Click at a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def type(self, text: str) -> None:
        """Press the keys of `text`."""
        for key in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def picture(self) -> bytes:
        """Return what is to be seen, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


@asynccontextmanager
async def chromium(width: int = 1280, height: int = 760) -> AsyncIterator[Page]:
    """A browser with one page; it and its profile are gone afterwards."""
    from websockets.asyncio.client import connect

    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="fct-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with connect(await _page_of(port), max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(10)


async def _port(file: Path) -> int:
    """Return the port of DevTools, which the browser writes to a file when it listens."""
    async with asyncio.timeout(30):
        while not (file.exists() and file.read_text().strip()):
            await asyncio.sleep(0.1)
    return int(file.read_text().split()[0])


async def _page_of(port: int) -> str:
    """Return the address of the WebSocket of the only page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /json HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length"))
    pages = json.loads(await reader.readexactly(length))
    writer.close()
    return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
