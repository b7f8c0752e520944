"""The pure and the compiled build in front of the same kind of origin, in turn."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import load, peers
from tests.support.checkout import ROOT
from tests.support.compiled import build, lay_out
from tests.support.running import python_worker

ROUNDS = 5

SECONDS = 3

PURE, COMPILED = "Faucet", "Faucet, compiled by mypyc"


def report(table: Callable[..., None]) -> None:
    """nginx as origin on four ports of each, `wrk -t1 -c32`."""
    if not peers.have("nginx"):
        print("nginx is not installed: left out")
        return
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(peers.scratch())
        lay_out(build(place / "dist"), place)
        found = {name: stack.enter_context(_served(name, root)) for name, root in ((PURE, ROOT), (COMPILED, place))}
        rates: dict[str, list[float]] = {name: [] for name in found}
        tails: dict[str, list[float]] = {name: [] for name in found}
        costs: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(ROUNDS):
            for name, running in found.items():
                before = _cpu_seconds(running.port)
                result = load.wrk(running.port, 32, seconds=SECONDS)
                assert not result.failed
                rates[name].append(result.requests)
                tails[name].append(result.p99 * 1000)
                costs[name].append((_cpu_seconds(running.port) - before) / (result.requests * SECONDS) * 1e6)
        table("Pure and compiled, fast origin on 4 ports, 32 clients", "requests/s", rates)
        table("The same", "p99 ms", tails)
        table("The same", "µs of CPU for each request", costs)


def _cpu_seconds(port: int) -> float:
    """What the Faucet on this port has used; other work on the machine changes it little."""
    times = peers.service_on(port).cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def _served(name: str, root: Path) -> Iterator[peers.Running]:
    """The Faucet in `root` and origins of its own."""
    with peers.scratch() as directory:
        os.environ["FAUCET_ORIGINS"] = str(directory)
        command = ("--command", python_worker("nginx_origin"), "--dir", str(directory))
        with peers.faucet(name, peers.consecutive_ports(4), *command, root=root) as running:
            yield running
