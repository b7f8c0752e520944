"""What a relay costs: the same requests at the active of two Faucets, and at the other one, which hands them on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic

import psutil

from tests.bench import load, peers
from tests.support.checkout import ROOT
from tests.support.kubeapi import Endpoint, KubeApi

PODS, CLIENTS, SECONDS = 8, 32, 4.0

Rounds = Callable[[dict[str, Callable[[], float]]], dict[str, list[float]]]
Table = Callable[[str, str, dict[str, list[float]], dict[str, float] | None], None]


@contextlib.contextmanager
def fake_api(directory: Path, port: int) -> Iterator[KubeApi]:
    """A fake API server in a thread of its own, with a service of PODS pods on that port of 127.0.0.11 and so on."""
    started, end = threading.Event(), asyncio.Event()
    held: list[tuple[KubeApi, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with KubeApi(directory / "api") as api:
            pods = [Endpoint(f"127.0.0.{number + 11}", f"pod{number}") for number in range(PODS)]
            api.set_slice("plumber-1", "plumber", pods, ports=[("http", port)])
            held.append((api, asyncio.get_running_loop()))
            started.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    try:
        yield held[0][0]
    finally:
        held[0][1].call_soon_threadsafe(end.set)
        thread.join()


@contextlib.contextmanager
def faucet(api: KubeApi, account: Path, name: str) -> Iterator[peers.Running]:
    """One Faucet with --ha, once it is ready."""
    port, admin, peer = (peers.free_port() for _ in range(3))
    words = [sys.executable, "-m", "tests.support.in_cluster_program", str(account), "k8s", "--headless", "--ha"]
    words += ["--service-url", "http://plumber", "--resolve", "kubernetes", "--control", "none"]
    words += ["--host", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--peer-host", f"127.0.0.1:{peer}"]
    words += ["--log-file", str(account.parent / f"{name}.log")]
    environment = {**os.environ, **api.in_cluster_env, "POD_NAME": name, "POD_UID": name, "POD_IP": "127.0.0.1"}
    with peers.process(name, port, words, cwd=ROOT, env=environment) as running:
        wait_ready(admin)
        yield running


def wait_ready(admin: int, seconds: float = 60.0) -> None:
    """Wait until /readyz says so."""
    deadline = monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1).close()
        except OSError:
            if monotonic() > deadline:
                raise
            threading.Event().wait(0.2)
        else:
            return


def report(table: Table, rounds: Rounds) -> None:
    """Measure and print."""
    origin = peers.free_port()
    http = peers.ORIGIN.format(port=origin, dir="{dir}").replace("127.0.0.1:", "")
    with peers.scratch() as directory, fake_api(directory, origin) as api, peers.nginx("origin", origin, http):
        account = api.service_account(directory / "account")
        with faucet(api, account, "active") as active, faucet(api, account, "relay") as relay:
            by_name = {"Faucet": relay, "the active itself": active}
            both = [process_of(active), process_of(relay)]
            table(
                f"{CLIENTS} clients of a relay, with a core for each Faucet (the figure that counts)",
                "requests for a second of CPU of the busier Faucet",
                rounds({name: lambda at=one: by_cpu(at.port, both) for name, one in by_name.items()}),
                {"the active itself": 0.6},
            )  # fmt: skip
            table(
                f"{CLIENTS} clients of a relay, by the clock, with all that runs on this machine", "requests/s",
                rounds({name: lambda at=one: load.wrk(at.port, CLIENTS).requests for name, one in by_name.items()}),
                None,
            )  # fmt: skip
            table(
                "One client of a relay", "p50 ms",
                rounds({name: lambda at=one: p50(at.port) for name, one in by_name.items()}), None,
            )  # fmt: skip


def process_of(faucet: peers.Running) -> psutil.Process:
    """The process that serves there."""
    return next(one for one in psutil.Process().children() if f"127.0.0.1:{faucet.port}" in one.cmdline())


def by_cpu(port: int, faucets: Sequence[psutil.Process]) -> float:
    """Requests that the Faucets carry while the busier of them is busy for a second: what a core for each would give,
    whatever else this machine has to do."""

    def used() -> list[float]:
        return [times.user + times.system for times in (one.cpu_times() for one in faucets)]

    before, seconds = used(), 4
    requests = load.wrk(port, CLIENTS, seconds=seconds).requests * seconds
    return requests / max(now - was for now, was in zip(used(), before, strict=True))


def p50(port: int) -> float:
    """Milliseconds that half of the requests of one client are faster than."""
    return 1000 * statistics.median(load.latencies(port, "/", SECONDS))
