"""What R users would pick instead: the Faucet in Rust and Valve, each with the same API in its own R processes.

They are built by `cargo install` into a cache outside the checkout, once. What is measured is what follows from who has
which request: requests per second, quick requests among slow ones, clients that leave, and the R processes that are
left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import psutil

import faucet.templates.demo
from tests.bench import load, peers
from tests.support.checkout import ROOT

CACHE = Path("/var/cache" if os.geteuid() == 0 else os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
CACHE = CACHE / "faucet" / "peers"

WORKERS = 2
DEMO = Path(faucet.templates.demo.__file__).parent
LEAVERS, SLOW, PATIENCE = 8, 1.0, 0.2
"""So many clients ask for what takes so many seconds, and leave after so many."""

QUICK, LONG, LOAD = 0.005, 0.5, 0.7
"""Seconds of nine and of one in ten requests, and how busy the workers are with them."""


HAPROXY, NGINX = "HAProxy, option httpclose, maxconn 1", "nginx, default (several requests in one R)"
DIRECT = "two direct clients, quick ACKs"

Table = Callable[..., None]
Rounds = Callable[[dict[str, Callable[[], float]]], dict[str, list[float]]]


class Crate(NamedTuple):
    """A peer that cargo installs."""

    title: str
    crate: str
    version: str
    program: str


RUST_FAUCET = Crate("Faucet in Rust, 2.1.0", "faucet-server", "2.1.0", "faucet")
VALVE = Crate("Valve 0.1.3", "valve-rs", "0.1.3", "valve")


def program_of(crate: Crate) -> Path | None:
    """Return its program, built if need be; None, with a word about the reason, if it cannot be had."""
    program = CACHE / "bin" / crate.program
    if program.is_file():
        return program
    if shutil.which("cargo") is None:
        print(f"cargo is not installed: {crate.title} is left out")
        return None
    words = ["cargo", "install", "--locked", "--quiet", "--root", str(CACHE), "--version", crate.version, crate.crate]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(CACHE / "build")}
    print(f"building {crate.title} in {CACHE}: some minutes", flush=True)
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    shutil.rmtree(CACHE / "build", ignore_errors=True)
    if result.returncode != 0:
        print(f"{crate.title} cannot be built, and is left out: {result.stderr.strip()[-300:]}")
        return None
    return program


class Service:
    """A program with its R processes, in a session of its own, so that whatever it leaves behind is found and ended."""

    def __init__(self, words: Sequence[str], port: int, ready: int = WORKERS) -> None:
        self.port = port
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._popen = subprocess.Popen(
            words, cwd=DEMO, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._process = psutil.Process(self._popen.pid)
        try:
            self._wait_ready(ready)
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def _wait_ready(self, workers: int) -> None:
        """Wait until so many different R processes have answered."""
        peers.wait_listening(self.port, 60)
        deadline, seen = monotonic() + 60, set[bytes]()
        while len(seen) < workers:
            if monotonic() > deadline:
                raise TimeoutError(f"{len(seen)} of {workers} workers answer")
            answers = asyncio.run(ask_all(self.port, ["/sleep?t=0.05"] * 2 * workers))
            seen |= {answer.partition(b'"pid":')[2] for answer in answers if b'"pid":' in answer}

    def end(self, how: signal.Signals) -> int:
        """End the program; return how many of its R processes are still there five seconds later, and end those."""
        family = self._process.children(recursive=True)
        self._popen.send_signal(how)
        self._popen.wait(30)
        _, left = psutil.wait_procs(family, timeout=5)
        rs = [process for process in left if process.name() in ("R", "Rscript")]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        return len(rs)


async def ask(port: int, target: str, patience: float = 60) -> bytes:
    """Return the whole answer to one request on a connection of its own; empty if there is none in that time."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


async def ask_all(port: int, targets: Sequence[str], patience: float = 60) -> list[bytes]:
    """Ask all at once."""
    return list(await asyncio.gather(*(ask(port, target, patience) for target in targets)))


def starters(origins: Sequence[int]) -> dict[str, Callable[[], Service]]:
    """How each of them is started that can be had, with two workers each; ours have these ports."""
    found: dict[str, Callable[[], Service]] = {"Faucet": lambda: start_faucet(origins)}
    if (rust := program_of(RUST_FAUCET)) is not None:
        found[RUST_FAUCET.title] = lambda: start_rust_faucet(rust)
    if (valve := program_of(VALVE)) is not None:
        found[VALVE.title] = lambda: start_valve(valve)
    return found


def start_faucet(origins: Sequence[int]) -> Service:
    """Ours, as a service runs it."""
    port = peers.free_port()
    words = [sys.executable, "-m", "faucet", "local", "--headless", "--host", f"127.0.0.1:{port}", "-w", str(WORKERS)]
    return Service([*words, "--dir", str(DEMO), "--child-port", str(origins[0])], port)


def start_rust_faucet(program: Path) -> Service:
    """Its round robin, which is the default."""
    port = peers.free_port()
    words = [str(program), "--host", f"127.0.0.1:{port}", "start", "--type", "plumber", "--workers", str(WORKERS)]
    return Service([*words, "--dir", str(DEMO)], port)


def start_valve(program: Path) -> Service:
    """It starts R processes as they are needed: Service waits until all of them have answered."""
    port = peers.free_port()
    most = str(WORKERS)
    return Service([str(program), "--port", str(port), "--n-max", most, "--n-min", most, "--file", "plumber.R"], port)


@contextlib.contextmanager
def running(start: dict[str, Callable[[], Service]]) -> Iterator[dict[str, Service]]:
    """All of them, for as long as the context lasts."""
    services: dict[str, Service] = {}
    try:
        for name, one in start.items():
            services[name] = one()
        yield services
    finally:
        for service in services.values():
            service.end(signal.SIGTERM)


def arrivals() -> list[load.Arrival]:
    """The same for all: nine of ten quick, one of ten slow, by chance in time."""
    source = random.Random(1)
    rate, when, found = LOAD * WORKERS / (0.9 * QUICK + 0.1 * LONG), 0.0, []
    for _ in range(400):
        when += source.expovariate(rate)
        found.append((when, LONG if source.random() < 0.1 else QUICK))
    return found


def quick_p99(port: int, when: Sequence[load.Arrival]) -> float:
    """The 99th percentile of the quick ones, in ms."""
    return p99_of_quick(asyncio.run(load.arrive(port, when, "/sleep?t={}", b'"pid":')), when)


def p99_of_quick(times: Sequence[float], when: Sequence[load.Arrival]) -> float:
    """The 99th percentile in ms of those that are quick, of `times` in seconds."""
    quick = [1000 * taken for taken, (_, service) in zip(times, when, strict=True) if service == QUICK]
    return statistics.quantiles(quick, n=100)[98]


def served_again(port: int) -> float:
    """Seconds until a client is served, after others have asked for something slow and have left."""

    async def main() -> float:
        await ask_all(port, [f"/sleep?t={SLOW}"] * LEAVERS, PATIENCE)
        began = monotonic()
        answer = await ask(port, "/hello")
        return monotonic() - began if b"200 OK" in answer else float("inf")

    return asyncio.run(main())


def left_behind(start: dict[str, Callable[[], Service]]) -> None:
    """Print how many R processes outlive each program."""
    print(f"\n### R processes left five seconds after the end, of {WORKERS}")
    print("\n| | SIGTERM | SIGKILL |\n| --- | --- | --- |")
    for name, one in start.items():
        print(f"| {name} | {one().end(signal.SIGTERM)} | {one().end(signal.SIGKILL)} |", flush=True)


def throughput(table: Table, rounds: Rounds, services: dict[str, Service], origins: Sequence[int]) -> None:
    """Eight clients ask each for as much as it can do; nginx and HAProxy, too, in front of our workers."""
    ports = {name: service.port for name, service in services.items()}
    with contextlib.ExitStack() as stack:
        if peers.have("haproxy"):
            ports[HAPROXY] = stack.enter_context(peers.haproxy(HAPROXY, origins, "option httpclose")).port
        if peers.have("nginx"):
            ports[NGINX] = stack.enter_context(peers.nginx_proxy(NGINX, origins, keepalive=0)).port
        measure: dict[str, Callable[[], float]] = {
            name: lambda port=port: load.wrk(port, 8, "/hello").requests for name, port in ports.items()
        }
        measure[DIRECT] = lambda: load.direct(origins, "/hello", 4)
        needed = {HAPROXY: 1.05, DIRECT: 0.85}
        table(f"Plumber, {WORKERS} workers, 8 clients, small GET", "requests/s", rounds(measure), needed)


def quick_among_slow(table: Table, rounds: Rounds, services: dict[str, Service]) -> None:
    """How long the quick requests take."""
    when = arrivals()
    rows = rounds({name: lambda port=one.port: quick_p99(port, when) for name, one in services.items()})
    rows["ideal FIFO, simulated"] = [p99_of_quick(load.ideal(when, WORKERS), when)]
    table(f"{QUICK * 1000:g} ms, and one in ten {LONG * 1000:g} ms, at {LOAD:.0%} load", "p99 ms of the quick", rows)


def report(table: Table, rounds: Rounds) -> None:
    """All tables."""
    if shutil.which("Rscript") is None:
        print("R is not installed: left out")
        return
    origins = peers.consecutive_ports(WORKERS)
    start = starters(origins)
    with running(start) as services:
        throughput(table, rounds, services, origins)
        quick_among_slow(table, rounds, services)
        again = rounds({name: lambda port=one.port: served_again(port) for name, one in services.items()})
        table(f"{LEAVERS} clients ask for {SLOW:g} s and leave: until another is served", "s", again)
    left_behind(start)
