"""Serves the monitor to browsers: textual-serve with a gate in front of it, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from faucet.net.address import Address
from faucet.web.gate import Decision, Gate

MOST_BROWSERS = 16
"""Monitors at the same time; each is a process of 40 MiB."""

END_SECONDS = 5.0
"""Seconds for a monitor to end; then it is killed."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy: nothing from elsewhere, and in no frame. The terminal sets styles itself."""

TEXTS = {
    Decision.NO_TOKEN: "This monitor needs a token: open the address that `faucet attach --web` has printed.",
    Decision.OTHER_ORIGIN: "Another web page may not open this monitor.",
    Decision.OTHER_NAME: "Not under this name. Open it by its address, or give it a token.",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MonitorServer(Server):
    """A web server that runs `command`, a monitor, for each browser."""

    def __init__(self, command: str, address: Address, title: str, gate: Gate) -> None:
        super().__init__(command, address.host, address.port, title=title, templates_path=Path(__file__).parent)
        self._gate = gate
        self._cookie = f"faucet-{address.port}"
        self._browsers: set[asyncio.Task[Any]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    async def application(self) -> web.Application:
        """Return the web application."""

        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass_gate(request, handler)

        app = web.Application(middlewares=[gate])
        aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(self.templates_path), autoescape=True)
        app.add_routes([
            web.get("/", self.handle_page),
            web.get("/ws", self.handle_websocket),
            web.static("/static", self.statics_path),
        ])  # fmt: skip
        app.on_shutdown.append(self._end_all)
        return app

    async def _pass_gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        decision = self._gate.decide(
            request.headers.get("Host"), request.headers.get("Origin"), request.query.get("token"),
            request.cookies.get(self._cookie),
        )  # fmt: skip
        if decision is Decision.WELCOME:
            response: web.StreamResponse = web.Response(status=303, headers={"Location": "/"})
            response.set_cookie(self._cookie, self._gate.cookie, httponly=True, samesite="Strict", path="/")
        elif decision is Decision.PASS:
            response = await handler(request)
        else:
            response = web.Response(status=decision.value, text=TEXTS[decision] + "\n")
        if not response.prepared:
            response.headers["Content-Security-Policy"] = POLICY
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def handle_page(self, request: web.Request) -> web.StreamResponse:
        """Answer with the page. Its WebSocket is where the page came from, also through a proxy or `ssh -L`."""
        secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
        size = request.query.get("fontsize", "14")
        context = {
            "application": {"name": self.title},
            "app_websocket_url": f"{'wss' if secure else 'ws'}://{request.host}/ws",
            "font_size": size if size.isdecimal() and len(size) < 3 else "14",
        }
        return aiohttp_jinja2.render_template("index.html", request, context)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a monitor for the browser that asks for it."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._browsers) >= MOST_BROWSERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_BROWSERS} browsers look at this monitor already.\n")
        self._browsers.add(task)
        try:
            return await self._run_monitor(request)
        finally:
            self._browsers.discard(task)

    async def _run_monitor(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(heartbeat=15, timeout=1.0)
        await websocket.prepare(request)

        async def close() -> None:
            await websocket.close()

        monitor = AppService(
            self.command, write_bytes=websocket.send_bytes, write_str=websocket.send_str, close=close,
            download_manager=self.download_manager,
        )  # fmt: skip
        try:
            await monitor.start(to_int(request.query.get("width", ""), 80), to_int(request.query.get("height", ""), 24))
            await self._process_messages(websocket, monitor)
        finally:
            ending = asyncio.ensure_future(end(monitor))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)
            await websocket.close()
        return websocket

    async def _end_all(self, _: web.Application) -> None:
        """End all monitors: aiohttp would wait a minute for them."""
        tasks = list(self._browsers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)  # of those whose wait was cancelled


async def end(monitor: AppService) -> None:
    """End a monitor; one that does not end by itself is killed."""
    process = monitor._process
    try:
        async with asyncio.timeout(END_SECONDS):
            await monitor.stop()
    except (TimeoutError, OSError):
        if process is not None and process.returncode is None:
            process.kill()
    if process is not None:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def serve(server: MonitorServer, ready: Callable[[int], None]) -> None:
    """Serve until SIGINT or SIGTERM. `ready` is called with the port when browsers may come. Raises OSError."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    runner = web.AppRunner(await server.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, server.host or None, server.port).start()
        ready(runner.addresses[0][1])
        await ended.wait()
    finally:
        await runner.cleanup()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
