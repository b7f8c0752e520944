"""toxiproxy between clients and Faucet: slow, thin, sliced and cut connections, each way.

What is only slow must be answered in full; of what is cut, each request ends all the same. The probe goes past it.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any, NamedTuple

from tests.corpora.clients import Customer
from tests.corpora.rig import TOOLS, Missing, Rig

CUSTOMERS = 4
REQUESTS = 25
"""Of each, per toxic and direction."""


class Toxic(NamedTuple):
    """One kind of toxic."""

    kind: str
    cuts: bool
    """Requests may fail: they are cut, not just slow."""
    attributes: dict[str, int]


TOXICS = (
    Toxic("latency", False, {"latency": 20, "jitter": 15}),
    Toxic("bandwidth", False, {"rate": 500}),
    Toxic("slicer", False, {"average_size": 60, "size_variation": 50, "delay": 20}),
    Toxic("slow_close", False, {"delay": 300}),
    Toxic("timeout", True, {"timeout": 200}),
    Toxic("reset_peer", True, {"timeout": 10}),
    Toxic("limit_data", True, {"bytes": 10_000}),
)


Address = tuple[str, int]


class Toxiproxy:
    """A running toxiproxy, with a way from each of some addresses to a port of 127.0.0.1."""

    def __init__(self, admin: int, ways: dict[Address, int]) -> None:
        self._admin = f"http://127.0.0.1:{admin}"
        self._names = [f"way-{number}" for number in range(len(ways))]
        for name, ((host, port), upstream) in zip(self._names, ways.items(), strict=True):
            wanted = {"name": name, "listen": f"{host}:{port}", "upstream": f"127.0.0.1:{upstream}"}
            self._ask("POST", "/proxies", {**wanted, "enabled": True})

    def _ask(self, method: str, path: str, message: dict[str, Any] | None = None) -> None:
        data = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(f"{self._admin}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            response.read()

    @contextlib.contextmanager
    def poisoned(self, toxic: Toxic, stream: str, share: float = 0.5) -> Iterator[None]:
        """The toxic works, on that share of the connections."""
        message = {"name": "t", "type": toxic.kind, "stream": stream, "toxicity": share, "attributes": toxic.attributes}
        for name in self._names:
            self._ask("POST", f"/proxies/{name}/toxics", message)
        yield
        for name in self._names:
            self._ask("DELETE", f"/proxies/{name}/toxics/t")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def toxiproxy(ways: dict[Address, int]) -> Iterator[Toxiproxy]:
    """Started, and ended. Raises Missing."""
    program = TOOLS / "toxiproxy" / "server"
    if not program.exists():
        raise Missing("needs toxiproxy (.ci/prepare corpora)")
    admin = free_port()
    options = ["-host", "127.0.0.1", "-port", str(admin)]
    process = subprocess.Popen([str(program), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_listening(admin)
        yield Toxiproxy(admin, ways)
    finally:
        process.terminate()
        process.wait(10)


def wait_listening(port: int) -> None:
    """Wait until somebody accepts connections there. Raises OSError after 10 s."""
    deadline = monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except OSError:
            if monotonic() > deadline:
                raise
            sleep(0.05)
        else:
            return


def crowd(rig: Rig, port: int, toxic: Toxic, stream: str, seed: int) -> tuple[int, int]:
    """Customers through that toxic; how many requests were answered, and how many were not."""
    customers = [Customer(port, seed + number, REQUESTS) for number in range(CUSTOMERS)]
    for customer in customers:
        customer.start()
    for customer in customers:
        customer.join(120)
        if customer.is_alive():
            rig.wrong(f"{toxic.kind} {stream}: a client has not ended after 120 s")
        rig.row.wrong += [f"{toxic.kind} {stream}: {text}" for text in customer.foreign]
        if not toxic.cuts:
            rig.row.wrong += [f"{toxic.kind} {stream}: {text}" for text in customer.wrong[:3]]
    return sum(customer.answered for customer in customers), sum(len(customer.wrong) for customer in customers)


def toxics(rig: Rig) -> None:
    """All of them, one after the other, each way."""
    seed, port, answered, failed = random.randrange(1 << 30), free_port(), 0, 0
    with toxiproxy({("127.0.0.1", port): rig.port}) as way:
        for toxic in TOXICS:
            for stream in ("upstream", "downstream"):
                with way.poisoned(toxic, stream):
                    counts = crowd(rig, port, toxic, stream, seed)
                answered, failed = answered + counts[0], failed + counts[1]
    rig.row.said = f"{2 * len(TOXICS)} toxics, {answered} answered, {failed} cut, seed {seed}"


ALL = {"toxiproxy": toxics}
