"""The pure and the compiled build in front of the same kind of origin, in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tests.bench import in_turn, peers
from tests.support.checkout import ROOT
from tests.support.compiled import build, lay_out

PURE, COMPILED = "Faucet", "Faucet, compiled by mypyc"


def report(table: Callable[..., None]) -> None:
    """nginx as origin on four ports of each, `wrk -t1 -c32`."""
    if not peers.have("nginx"):
        print("nginx is not installed: left out")
        return
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(peers.scratch())
        lay_out(build(place / "dist"), place)
        roots = {PURE: ROOT, COMPILED: place}
        measured = in_turn.measure(
            {name: stack.enter_context(in_turn.served(name, root=root)) for name, root in roots.items()}
        )
    table("Pure and compiled, fast origin on 4 ports, 32 clients", "requests/s", measured.rates)
    table("The same", "p99 ms", measured.tails)
    table("The same", "µs of CPU for each request", measured.costs)
