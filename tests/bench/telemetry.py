"""What `--otel-endpoint` costs: with a collector that takes everything, and without, in turn."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

from tests.bench import in_turn, peers
from tests.support.collector import Taker, serving

OFF, ON = "without", "Faucet"


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """The URL of one, in a thread of this process."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Taker)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def report(table: Callable[..., None]) -> None:
    """nginx as origin on four ports of each, `wrk -t1 -c32`, in turn."""
    if not peers.have("nginx") or importlib.util.find_spec("opentelemetry.sdk") is None:
        print("nginx or the extra `otel` is not installed: left out")
        return
    with collector() as url, in_turn.served(ON, "--otel-endpoint", url) as on, in_turn.served(OFF) as off:
        measured = in_turn.measure({ON: on, OFF: off})
    table("With --otel-endpoint, fast origin on 4 ports, 32 clients", "requests/s", measured.rates)
    table("The same", "µs of CPU for each request", measured.costs)
