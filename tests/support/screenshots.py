"""Makes `screenshots/`: the real monitor, watching a real API under a real load. `just screenshots`.

With names as arguments it makes only these.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from textual.pilot import Pilot

from faucet.control.find import HERE, find
from faucet.control.hosts import Found, Host
from faucet.settings import MonitorSettings
from faucet.tui.app import Monitor
from faucet.tui.hosts_app import HostsApp
from faucet.tui.table import WorkerTable
from faucet.tui.table_columns import Order
from tests.bench import peers
from tests.support.browser import CHROMIUM, chromium
from tests.support.checkout import ROOT
from tests.support.load import fetch
from tests.support.stage_hosts import other_services

PLACE = ROOT / "screenshots"

WORKERS = 5

Scene = Callable[[Monitor, Pilot[str], int], Awaitable[None]]


class Load:
    """Clients that ask for all kinds of things, as many as it is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._source = random.Random(4)

    def start(self, clients: int, slow: float) -> None:
        """More clients; a share of `slow` of what they ask takes seconds."""
        self._tasks |= {asyncio.ensure_future(self._client(slow)) for _ in range(clients)}

    async def _client(self, slow: float) -> None:
        while True:
            await asyncio.sleep(self._source.expovariate(4))
            target, body = self._choose(slow)
            await fetch(self._port, target, "POST" if body else "GET", body)

    def _choose(self, slow: float) -> tuple[str, bytes]:
        source = self._source
        if source.random() < slow:
            slow_ones = (f"/predict?x={source.uniform(0.4, 2.5):.1f}", f"/report.pdf?pages={source.randrange(2, 7)}")
            return source.choice(slow_ones), b""
        if source.random() < 0.03:
            return "/stock", b""
        return source.choice(
            [(f"/sales/{source.randrange(1000)}", b""), (f"/predict?x={source.uniform(0.05, 0.3):.2f}", b""),
             ("/score", b"x=1")]
        )  # fmt: skip

    async def stop(self) -> None:
        """No more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


async def main_view(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """As one sees it on a usual day."""
    await pilot.press("down", "down")


async def under_pressure(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """The queue, with many waiting."""
    await pilot.press("3", "down", "down")


async def details(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """All about a worker."""
    await pilot.press("enter")
    await pilot.pause(1.5)


async def filtered(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """Only some lines."""
    await pilot.press("1", "slash", *"pages=[4-6]", "enter")


async def rolling(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """A rolling restart under way, one worker held."""
    await pilot.press("4", "end", "h", "home", "R", "y")
    await pilot.pause(1.0)


async def lanes(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """A minute of lock lanes, with a worker that is killed."""
    await pilot.press("5", "down", "K")
    await pilot.pause(40)
    await pilot.press("left", "left")


async def endpoints(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """Which endpoints take the workers' time."""
    await pilot.press("6")
    await pilot.pause(3)


async def killing(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """The question before a busy worker is killed."""
    table = app.query_one(WorkerTable)
    busy = next((number for number, cell in enumerate(table.cells) if cell.row.locked), 0)
    app.settings = dataclasses.replace(app.settings, confirm=True)
    await pilot.press(*["down"] * busy, "K")
    await pilot.pause(0.5)


async def crash(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """What ended a worker, and during which request."""
    await fetch(port, "/train")
    await pilot.press("4")
    await pilot.pause(4)


async def heat(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """Heat maps of service time and of waiting."""
    await pilot.press("7")
    await pilot.pause(6)


async def replay(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """Paused, and some seconds back."""
    await pilot.press("5")
    await pilot.pause(20)
    await pilot.press("space", *["comma"] * 15)
    await pilot.pause(1)


async def what_if(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """The waiting with fewer and with more workers."""
    await pilot.press("W")
    await pilot.pause(4)


async def nothing(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """As it is."""


SCENES: dict[str, tuple[tuple[int, int], str, float, int, Scene]] = {
    "queue": ((120, 36), "textual-dark", 0.8, 40, under_pressure),
    "worker": ((120, 36), "textual-dark", 0.12, 8, details),
    "filter": ((120, 28), "textual-dark", 0.3, 8, filtered),
    "small": ((80, 24), "textual-dark", 0.2, 8, nothing),
    "lanes": ((120, 26), "textual-dark", 0.3, 4, lanes),
    "endpoints": ((120, 20), "textual-dark", 0.12, 8, endpoints),
    "kill": ((100, 30), "textual-dark", 0.4, 8, killing),
    "crash": ((120, 24), "textual-dark", 0.2, 6, crash),
    "replay": ((120, 26), "textual-dark", 0.3, 6, replay),
    "what-if": ((100, 20), "textual-dark", 0.5, 8, what_if),
    "tiny": ((50, 12), "textual-dark", 0.4, 10, nothing),
    "light": ((120, 36), "textual-light", 0.12, 8, main_view),
    "heat": ((120, 36), "textual-dark", 0.4, 8, heat),
    "rolling": ((120, 24), "textual-dark", 0.12, 8, rolling),
}
"""Size, theme, share of slow requests, clients, and what is done first."""


def hide_places(app: Monitor) -> None:
    """Show directories as they would be on a server, not those of this checkout."""

    def hidden(data: Any) -> Any:
        text = json.dumps(data).replace(str(ROOT), "/opt/faucet")
        return json.loads(re.sub(r"/tmp/fct-\w+/srv", "/srv", text))

    apply, ask = app.model.apply, app.feed.ask

    async def ask_and_hide(do: str, **arguments: Any) -> Any:
        return hidden(await ask(do, **arguments))

    app.model.apply = lambda message: apply(hidden(message))  # type: ignore[method-assign]
    app.feed.ask = ask_and_hide  # type: ignore[method-assign]


async def take(name: str, port: int) -> None:
    """One picture."""
    size, theme, slow, clients, scene = SCENES[name]
    load = Load(port)
    load.start(clients, slow)
    app = Monitor(lambda: find(port), MonitorSettings(confirm=False), owner=False)
    hide_places(app)
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        await pilot.pause(14)
        await scene(app, pilot, port)
        app._drawn = -1
        app._refresh()
        await pilot.pause(0.2)
        app.save_screenshot(f"{name}.svg", str(PLACE))
    await load.stop()


async def all_services(port: int) -> None:
    """`faucet top`: this service, two that are not there, and one that does not answer."""
    load = Load(port)
    load.start(8, 0.3)
    app = HostsApp([Nearby(HERE), cast("Host", Elsewhere())], Order("host"))
    async with app.run_test(size=(120, 12)) as pilot:
        await pilot.pause(6)
        app.save_screenshot("top.svg", str(PLACE))
    await load.stop()


class Nearby(Host):
    """This machine, its directories as they would be on a server."""

    async def look(self) -> list[Found]:
        """See Host."""
        return [shown_elsewhere(each) for each in await super().look()]


def shown_elsewhere(found: Found) -> Found:
    """Return a service with the directory that it would have on a server."""
    if found.summary is None:
        return found
    service = found.summary.service
    title = re.sub(r"/tmp/fct-\w+/srv", "/srv", service.title)
    return found._replace(summary=found.summary._replace(service=service._replace(title=title)))


class Elsewhere:
    """Other machines, as `faucet top` would find them."""

    async def look(self) -> list[Found]:
        """See Host."""
        return other_services()

    async def close(self) -> None:
        """See Host."""


async def in_a_browser(port: int) -> None:
    """The monitor in a real Chromium."""
    if CHROMIUM is None:
        print("Chromium is not installed: no picture of it")
        return
    load = Load(port)
    load.start(8, 0.3)
    command = [sys.executable, "-m", "faucet", "attach", str(port), "--web", "127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = await asyncio.to_thread(server.stdout.readline)
        async with chromium(1200, 700) as page:
            await page.open(line.partition(" at ")[2].partition(" ")[0])
            await page.until("document.body.classList.contains('-first-byte')")
            await asyncio.sleep(8)
            await page.click(300, 300)
            await page.type("5")
            await asyncio.sleep(12)
            (PLACE / "web.png").write_bytes(await page.picture())
    finally:
        server.terminate()
        server.wait(15)
    await load.stop()


OTHERS: dict[str, Callable[[int], Awaitable[None]]] = {"top": all_services, "web": in_a_browser}
"""Pictures of something else than the monitor in a terminal."""


def main() -> None:
    """All pictures, or those that are named, in turn, of one service."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fct-") as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime
        api = Path(runtime) / "srv/sales"
        api.mkdir(parents=True)
        shutil.copy(ROOT / "tests/support/screenshots_api.R", api / "plumber.R")
        words = ("--dir", str(api), "--queue-timeout", "20s")
        with peers.faucet("Faucet", peers.consecutive_ports(WORKERS), *words) as running:
            for name in sys.argv[1:] or (*SCENES, *OTHERS):
                print(name, flush=True)
                asyncio.run(OTHERS[name](running.port) if name in OTHERS else take(name, running.port))


if __name__ == "__main__":
    main()
