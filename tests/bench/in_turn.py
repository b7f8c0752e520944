"""Several Faucets, each with a fast origin of its own, asked in turn: requests per second, and what each costs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench import load, peers
from tests.support.checkout import ROOT
from tests.support.running import python_worker

ROUNDS, SECONDS, CLIENTS = 5, 3, 32

Values = dict[str, list[float]]
"""Of each round, by the name of what was measured."""


class Measured(NamedTuple):
    """All rounds."""

    rates: Values
    """Requests per second."""
    tails: Values
    """99th percentiles, in ms."""
    costs: Values
    """Microseconds of CPU for each request: other work on the machine changes them less than the rates."""


@contextlib.contextmanager
def served(
    name: str, *options: str, root: Path = ROOT, python: str = sys.executable, origins: Sequence[int] = ()
) -> Iterator[peers.Running]:
    """The Faucet in `root` under this Python, in front of nginx on four ports of its own, or on `origins`."""
    ports = origins or peers.consecutive_ports(4)
    with peers.scratch() as directory:
        os.environ["FAUCET_ORIGINS"] = str(directory)
        command = ("--command", python_worker("nginx_origin"), "--dir", str(directory))
        with peers.faucet(name, ports, *command, *options, root=root, python=python) as running:
            yield running


def measure(found: Mapping[str, peers.Running]) -> Measured:
    """`wrk -t1` with 32 clients, five rounds, all in turn in each."""
    rates: Values = {name: [] for name in found}
    tails: Values = {name: [] for name in found}
    costs: Values = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, running in found.items():
            before = _cpu_seconds(running)
            result = load.wrk(running.port, CLIENTS, seconds=SECONDS)
            assert not result.failed
            rates[name].append(result.requests)
            tails[name].append(result.p99 * 1000)
            costs[name].append((_cpu_seconds(running) - before) / (result.requests * SECONDS) * 1e6)
    return Measured(rates, tails, costs)


def _cpu_seconds(running: peers.Running) -> float:
    """What it has used."""
    times = psutil.Process(running.pid).cpu_times()
    return float(times.user + times.system)
