"""Local workers as a viewer sees them."""

from __future__ import annotations

import os
from time import localtime, strftime
from typing import TYPE_CHECKING, Any

from faucet.snapshot import WorkerRow
from faucet.workers.figures import NOTHING, epoch, figures, lock_figures
from faucet.workers.life import Life, State

if TYPE_CHECKING:
    from faucet.proxy.core import Proxy
    from faucet.workers.place import Place


def place_rows(place: Place, proxy: Proxy) -> list[WorkerRow]:
    """The rows of one place: its worker, and while it is being replaced, the other processes."""
    rows = [_place_row(place, proxy)]
    rows += [_life_row(place, life) for life in place.lives if life is not place.life]
    return rows


def _place_row(place: Place, proxy: Proxy) -> WorkerRow:
    state, reason = _state(place)
    served = figures(proxy.stats.workers.get(str(place), NOTHING))
    return _row(place, place.life, str(place), state, reason)._replace(key=str(place), **served)


def _life_row(place: Place, life: Life) -> WorkerRow:
    """A process beside the one in service: one that comes, or one that goes."""
    if life is place.successor:
        return _row(place, life, f"{place}+", "starting", "replacement")
    return _row(place, life, f"{place}-", "draining", life.ending)


def _row(place: Place, life: Life | None, name: str, state: str, reason: str) -> WorkerRow:
    """What there is to be seen of one process, or of none; its numbers are its place's, and not in here."""
    pid = 0 if life is None or life.process is None else life.process.pid
    return WorkerRow(
        key=f"{name}{pid}",
        name=name,
        state=state,
        reason=reason,
        pid=pid,
        port=life.port if life else 0,
        since=0.0 if life is None else epoch(life.ready_at or life.began),
        **lock_figures(None if life is None else life.holder),
        **figures(NOTHING),
        restarts=place.restarts,
        address="",
    )


def _state(place: Place) -> tuple[str, str]:
    """The state of the worker, and why it is not ready, if it is not."""
    life = place.life
    last = place.exits[-1] if place.exits else ""
    if life is None and place.stopping:
        return "draining", "ended"
    if life is None:
        pause = ""
        if place.next_try is not None:
            pause = f"; next try at {strftime('%H:%M:%S', localtime(epoch(place.next_try)))}"
        return ("failed" if place.failed else "backoff"), f"{place.advice.fact or last or 'not started yet'}{pause}"
    if life.state is State.STARTING:
        return "starting", place.advice.fact or f"waiting for port {life.port}"
    if life.state is State.DRAINING:
        return "draining", life.ending
    if life.state is State.OVER:
        return "backoff", last
    if place.held:
        return "held", "" if life.holder else "gets no requests until it is resumed"
    return ("busy" if life.holder else "ready"), ""


def place_details(place: Place, proxy: Proxy) -> dict[str, Any]:
    """Everything there is to know about a worker."""
    life, entry = place.life, place.pool.entry
    stats = proxy.stats.workers.get(str(place), NOTHING)
    row = _place_row(place, proxy)
    given = entry.environment(row.port, place.number)
    lines = place.last_lines if life is None or life.process is None else list(life.process.last_lines)
    return {
        "row": row,
        "command": entry.argv(row.port),
        "directory": str(entry.directory),
        "environment": {name: given[name] for name in sorted(given) if os.environ.get(name) != given[name]},
        "took": life.ready_at - life.began if life and life.ready_at else 0.0,
        "exits": list(place.exits),
        "durations": [seconds for _, seconds in stats.recent],
        "last_lines": lines,
        "facts": [("advice", place.advice.text)] if place.advice.text else [],
    }
