"""`just corpora [NAME…]`: run the recipes, print a table, and exit with 1 if a promise was broken."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic

from faucet.units import format_duration
from tests.corpora import behind, clients, coverage, load_tools, pods, slow_tools, toxic, websocket
from tests.corpora.rig import Missing, Rig, Row
from tests.corpora.targets import TARGETS
from tests.support.running import python_worker

Recipe = Callable[[], Row]

LONGEST = 300
"""Seconds after which a recipe is ended, as broken. Go's client is compiled within its own, once."""


PLAIN = load_tools.ALL | clients.ALL | toxic.ALL
"""Recipes for the service as it is by default."""


def plain(name: str) -> Row:
    """A load generator, or a client."""
    with Rig(name) as rig:
        PLAIN[name](rig)
    return rig.row


def rolling(name: str) -> Row:
    """The same during one rolling restart after the other, which costs no request."""
    ended, rolls = threading.Event(), 0

    def roll() -> None:
        nonlocal rolls
        while not ended.is_set():
            rig.ctl("rolling-restart", "--wait")
            rolls += 1

    with Rig(f"{name}-rolling", workers=3) as rig, ThreadPoolExecutor(1) as thread:
        rolled = thread.submit(roll)
        try:
            PLAIN[name](rig)
        finally:
            ended.set()
        rolled.result(60)
        rig.row.said += f"; {rolls} rolling restarts"
    return rig.row


SPOOLED = ("--buffer-request", "2KiB", "--buffer-response", "2KiB", "--spool-limit", "1MiB")
"""Most bodies go through files, and sometimes there is no room left."""


def spooled(name: str) -> Row:
    """The same with bodies that are longer than their buffers."""
    with Rig(f"{name}-spooled", *SPOOLED) as rig:
        PLAIN[name](rig)
    return rig.row


def slowly(mode: str) -> Row:
    """A mode of slowhttptest."""
    with Rig(f"slowhttptest-{mode}", *slow_tools.LIMITS) as rig:
        slow_tools.slow(rig, mode)
    return rig.row


def with_sockets() -> Row:
    """WebSockets."""
    with Rig("websocket", command=python_worker("framed")) as rig:
        websocket.websocket(rig)
    return rig.row


def recipes() -> dict[str, Recipe]:
    """All of them, by name."""
    return {
        **{name: partial(plain, name) for name in PLAIN},
        **{f"{name}-rolling": partial(rolling, name) for name in ("h2load", *clients.ALL)},
        **{f"{name}-spooled": partial(spooled, name) for name in ("ab", *clients.ALL, *toxic.ALL)},
        "toxiproxy-pods": behind.recipe,
        **{f"slowhttptest-{mode}": partial(slowly, mode) for mode in slow_tools.MODES},
        "websocket": with_sockets,
        "pods": partial(pods.recipe, "pods", through_ssh=False),
        "ssh-pods": partial(pods.recipe, "ssh-pods", through_ssh=True),
        **{f"atheris-{name}": partial(coverage.recipe, name) for name in TARGETS},
    }


def run(name: str, recipe: Recipe) -> Row:
    """One recipe; what is missing for it is no fault."""
    try:
        with ended_after(LONGEST):
            return recipe()
    except Missing as error:
        return Row(name, skipped=str(error))
    except Exception as error:  # the others are to run all the same
        return Row(name, wrong=[f"{type(error).__name__}: {error}"])


@contextlib.contextmanager
def ended_after(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after so long, whatever it waits for."""

    def over(*_: object) -> None:
        raise TimeoutError(f"it has not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def line(row: Row) -> str:
    """One row of the table."""
    verdict = f"skipped: {row.skipped}" if row.skipped else "BROKEN" if row.wrong else "kept"
    first = f"{row.name:22} {row.handed or '':>8} {row.probe:>14}  {verdict:7} {row.said}"
    return "\n".join([first.rstrip(), *(f"{'':22} ! {text}" for text in row.wrong)])


def main(names: list[str]) -> int:
    """Run those whose name begins with one of `names`; all, without any."""
    chosen = {name: recipe for name, recipe in recipes().items() if not names or name.startswith(tuple(names))}
    if not chosen:
        print(f"no recipe begins with {', '.join(names)}; there are {', '.join(recipes())}", file=sys.stderr)
        return 2
    rows, began = [], monotonic()
    with tempfile.TemporaryDirectory(prefix="fct-") as directory:
        os.environ["XDG_RUNTIME_DIR"] = directory
        for name, recipe in chosen.items():
            print(f"{name} …", flush=True)
            rows.append(run(name, recipe))
            print(line(rows[-1]), flush=True)
    print(f"\n{'recipe':22} {'requests':>8} {'probe p50/max':>14}  promises")
    print("\n".join(line(row) for row in rows))
    broken, skipped = sum(bool(row.wrong) for row in rows), sum(bool(row.skipped) for row in rows)
    kept, took = len(rows) - broken - skipped, format_duration(monotonic() - began)
    print(f"\n{kept} recipes kept their promises, {broken} broke one, {skipped} were skipped; {took}")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
