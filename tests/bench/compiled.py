"""The pure and the compiled build, and HAProxy, in front of the same kind of origin, in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tests.bench import in_turn, peers
from tests.support.checkout import ROOT
from tests.support.compiled import build, lay_out

COMPILED, PURE, HAPROXY = "Faucet", "Faucet, pure Python", "HAProxy, http-reuse always, maxconn 1"
"""The compiled build has the name with which the table compares the others."""


def report(table: Callable[..., None]) -> None:
    """nginx as origin on four ports of each, `wrk -t1 -c32`."""
    if not peers.have("nginx"):
        print("nginx is not installed: left out")
        return
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(peers.scratch())
        lay_out(build(place / "dist"), place)
        origins = peers.consecutive_ports(4)
        found = {
            COMPILED: stack.enter_context(in_turn.served(COMPILED, root=place)),
            PURE: stack.enter_context(in_turn.served(PURE, root=ROOT, origins=origins)),
        }
        if peers.have("haproxy"):
            found[HAPROXY] = stack.enter_context(peers.haproxy(HAPROXY, origins, "http-reuse always"))
        else:
            print("HAProxy is not installed: left out")
        measured = in_turn.measure(found)
    table("Compiled by mypyc, fast origin on 4 ports, 32 clients", "requests/s", measured.rates)
    table("The same", "p99 ms", measured.tails)
    table("The same", "µs of CPU for each request", measured.costs)
