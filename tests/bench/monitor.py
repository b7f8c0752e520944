"""What the monitor costs: the service while somebody watches, and the watching itself."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator

import psutil

from tests.bench import load, peers
from tests.support.load import fetch
from tests.support.running import python_worker

SETTLE = 3.0
"""Seconds for the monitor to have drawn its first pictures."""


@contextlib.contextmanager
def watching(port: int) -> Iterator[psutil.Process]:
    """`faucet attach` in a terminal of 120 x 36 that shows nothing to nobody."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"PYTHONPATH": str(peers.ROOT), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    words = [sys.executable, "-m", "faucet", "attach", str(port)]
    monitor = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    seen = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                if b"STATE" in data:
                    seen.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not seen.wait(20):
            raise RuntimeError("the monitor did not come up")
        threading.Event().wait(SETTLE)
        yield psutil.Process(monitor.pid)
    finally:
        monitor.send_signal(signal.SIGCONT)
        monitor.terminate()
        monitor.wait(20)
        reader.join(5)
        os.close(ours)


def _share(process: psutil.Process, seconds: float) -> float:
    """Per cent of a core that it uses."""
    before = process.cpu_times()
    threading.Event().wait(seconds)
    after = process.cpu_times()
    return 100 * (after.user + after.system - before.user - before.system) / seconds


def under_load(rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Requests a second and the 99th percentile in ms: headless, watched, and with a monitor that is suspended."""
    origins = peers.consecutive_ports(2)
    plumber = shutil.which("Rscript") is not None
    demo = peers.ROOT / "faucet" / "templates" / "demo"
    options = ("--dir", str(demo)) if plumber else ("--command", python_worker("blocking"))
    target = "/hello" if plumber else "/0"
    speeds: dict[str, list[float]] = {}
    tails: dict[str, list[float]] = {}

    def measure(name: str, port: int) -> None:
        result = load.wrk(port, 8, target, seconds=6)
        speeds.setdefault(name, []).append(result.requests)
        tails.setdefault(name, []).append(1000 * result.p99)

    with peers.faucet("Faucet", origins, *options) as running:
        load.wrk(running.port, 8, target, seconds=2)
        for _ in range(rounds):
            measure("Faucet", running.port)
            with watching(running.port) as monitor:
                measure("watched", running.port)
                monitor.suspend()
                measure("monitor suspended", running.port)
    return speeds, tails


def shares() -> dict[str, float]:
    """Per cent of a core that the monitor uses: idle, and with 16 busy workers."""
    found = {}
    with peers.faucet("Faucet", peers.consecutive_ports(16), "--command", python_worker("counting")) as running:
        with watching(running.port) as monitor:
            found["idle"] = _share(monitor, 10)
        stop = threading.Event()
        busy = threading.Thread(target=_keep_busy, args=(running.port, stop))
        busy.start()
        with watching(running.port) as monitor:
            found["16 busy workers"] = _share(monitor, 10)
        stop.set()
        busy.join()
    return found


def _keep_busy(port: int, stop: threading.Event) -> None:
    """Sixteen requests of a second each at any time."""

    async def client() -> None:
        while not stop.is_set():
            await fetch(port, "/slow?1")

    async def clients() -> None:
        await asyncio.gather(*(client() for _ in range(16)))

    asyncio.run(clients())


def report(table: Callable[..., None], rounds: int) -> None:
    """Print it all."""
    speeds, tails = under_load(rounds)
    for rows in (speeds, tails):
        rows["Faucet, headless"] = rows.pop("Faucet")
    needed = {"Faucet, headless": 0.95}
    table("The monitor open, 8 clients", "requests/s", {"Faucet": speeds.pop("watched"), **speeds}, needed)
    table("The same", "p99 ms (at most)", {"Faucet": tails.pop("watched"), **tails}, {"Faucet, headless": 1.2})
    print("\n### The monitor's own CPU\n\n| | % of a core | at most |\n| --- | --- | --- |")
    for name, share in shares().items():
        print(f"| {name} | {share:.1f} | {2 if name == 'idle' else 10} |")
