"""Makes `screenshots/`: the real monitor, watching the real demo under a real load. `just screenshots`.

With names as arguments it makes only these.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from faucet.control.find import find
from faucet.settings import MonitorSettings
from faucet.tui.app import Monitor
from tests.bench import peers
from tests.support.checkout import ROOT
from tests.support.load import fetch

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
        if self._source.random() < slow:
            return f"/sleep?t={self._source.uniform(0.5, 6):.1f}", b""
        return self._source.choice(
            [(f"/hello?name=user{self._source.randrange(1000)}", b""), ("/mean?x=1,2,3,4", b"x=1"),
             ("/large?bytes=40000", b""), (f"/sleep?t={self._source.uniform(0, 0.2):.2f}", b""),
             ("/hello", b""), ("/hello", b""), ("/error" if self._source.random() < 0.1 else "/hello", b"")]
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
    await pilot.press("3")


async def details(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """All about a worker."""
    await pilot.press("enter")
    await pilot.pause(1.5)


async def filtered(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """Only some lines."""
    await pilot.press("1", "slash", *"sleep.t=[2-6]", "enter")


async def rolling(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """A rolling restart under way, one worker held."""
    await pilot.press("4", "end", "h", "home", "R")
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


async def nothing(app: Monitor, pilot: Pilot[str], port: int) -> None:
    """As it is."""


SCENES: dict[str, tuple[tuple[int, int], str, float, int, Scene]] = {
    "main": ((120, 36), "textual-dark", 0.12, 8, main_view),
    "queue": ((120, 36), "textual-dark", 0.8, 40, under_pressure),
    "worker": ((120, 36), "textual-dark", 0.12, 8, details),
    "filter": ((120, 36), "textual-dark", 0.3, 8, filtered),
    "rolling": ((120, 36), "textual-dark", 0.12, 8, rolling),
    "small": ((80, 24), "textual-dark", 0.2, 8, nothing),
    "lanes": ((120, 36), "textual-dark", 0.3, 4, lanes),
    "endpoints": ((120, 36), "textual-dark", 0.12, 8, endpoints),
    "wide": ((200, 50), "textual-dark", 0.2, 5, lanes),
    "tiny": ((50, 12), "textual-dark", 0.2, 8, nothing),
    "light": ((120, 36), "textual-light", 0.12, 8, main_view),
}
"""Size, theme, share of slow requests, clients, and what is done first."""


async def take(name: str, port: int) -> None:
    """One picture."""
    size, theme, slow, clients, scene = SCENES[name]
    load = Load(port)
    load.start(clients, slow)
    app = Monitor(lambda: find(str(port)), MonitorSettings(confirm=False), owner=False)
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        await pilot.pause(14)
        await scene(app, pilot, port)
        app._drawn = -1
        app._refresh()
        await pilot.pause(0.2)
        app.save_screenshot(f"{name}.svg", str(PLACE))
    await load.stop()
    convert(name)


def convert(name: str) -> None:
    """To PNG, where that can be done. The font that the SVG asks for may not be here; DejaVu is."""
    if shutil.which("rsvg-convert") is None:
        print("rsvg-convert (librsvg2-bin) is not installed: no PNG")
        return
    svg = (PLACE / f"{name}.svg").read_text().replace("Fira Code", "DejaVu Sans Mono")
    svg = svg.replace("<text ", '<text xml:space="preserve" ')  # else leading spaces are lost
    subprocess.run(["rsvg-convert", "-o", str(PLACE / f"{name}.png")], input=svg, text=True, check=True)


def main() -> None:
    """All pictures, or those that are named, in turn, of one service."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fct-") as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime
        with peers.faucet(
            "Faucet", peers.consecutive_ports(WORKERS), "--dir", str(ROOT / "faucet/templates/demo")
        ) as running:
            for name in sys.argv[1:] or SCENES:
                print(name, flush=True)
                asyncio.run(take(name, running.port))


if __name__ == "__main__":
    main()
