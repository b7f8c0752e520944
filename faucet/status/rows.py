"""Local workers as rows of a snapshot."""

from __future__ import annotations

import os
from time import localtime, strftime
from typing import TYPE_CHECKING, Any

from faucet.status.figures import NOTHING, epoch, figures, lock_figures
from faucet.status.snapshot import WorkerRow
from faucet.workers.instance import Instance, State

if TYPE_CHECKING:
    from faucet.proxy.server import Proxy
    from faucet.workers.slot import Slot


def slot_rows(slot: Slot, proxy: Proxy) -> list[WorkerRow]:
    """Return the rows of one slot: its worker, and while that is being replaced, the other processes."""
    rows = [_slot_row(slot, proxy)]
    rows += [_instance_row(slot, instance) for instance in slot.instances if instance is not slot.instance]
    return rows


def _slot_row(slot: Slot, proxy: Proxy) -> WorkerRow:
    state, reason = _state(slot)
    served = figures(proxy.stats.workers.get(str(slot), NOTHING))
    return _row(slot, slot.instance, str(slot), state, reason)._replace(key=str(slot), **served)


def _instance_row(slot: Slot, instance: Instance) -> WorkerRow:
    """Return the row of a process beside the one in service: its replacement, or a draining predecessor."""
    if instance is slot.successor:
        return _row(slot, instance, f"{slot}+", "starting", "replacement")
    return _row(slot, instance, f"{slot}-", "draining", instance.ending)


def _row(slot: Slot, instance: Instance | None, name: str, state: str, reason: str) -> WorkerRow:
    """Return the row of one process, or of none, without request counts: those belong to the slot."""
    pid = 0 if instance is None or instance.process is None else instance.process.pid
    return WorkerRow(
        key=f"{name}{pid}",
        name=name,
        state=state,
        reason=reason,
        pid=pid,
        port=instance.port if instance else 0,
        since=0.0 if instance is None else epoch(instance.ready_at or instance.began),
        **lock_figures(None if instance is None else instance.lease),
        **figures(NOTHING),
        restarts=slot.restarts,
        address="",
    )


def _state(slot: Slot) -> tuple[str, str]:
    """Return the worker's state, and why it is not ready (empty if it is)."""
    instance = slot.instance
    last = slot.exits[-1] if slot.exits else ""
    if instance is None and slot.stopping:
        return "draining", "ended"
    if instance is None:
        pause = ""
        if slot.next_try is not None:
            pause = f"; next try at {strftime('%H:%M:%S', localtime(epoch(slot.next_try)))}"
        return ("failed" if slot.failed else "backoff"), f"{slot.advice.fact or last or 'not started yet'}{pause}"
    if instance.state is State.STARTING:
        return "starting", slot.advice.fact or f"waiting for port {instance.port}"
    if instance.state is State.DRAINING:
        return "draining", instance.ending
    if instance.state is State.OVER:
        return "backoff", last
    if slot.held:
        return "held", "" if instance.lease else "no requests until resumed"
    return ("busy" if instance.lease else "ready"), ""


def slot_details(slot: Slot, proxy: Proxy) -> dict[str, Any]:
    """Return all details of a worker: its row, command, environment, exits, latest service times, last lines."""
    instance, program = slot.instance, slot.pool.program
    stats = proxy.stats.workers.get(str(slot), NOTHING)
    row = _slot_row(slot, proxy)
    given = program.environment(row.port, slot.number)
    if not row.port:  # no process, so no port yet: leave out what is made from it
        other = program.environment(1, slot.number)
        given = {name: value for name, value in given.items() if other[name] == value}
    lines = slot.last_lines if instance is None or instance.process is None else list(instance.process.last_lines)
    return {
        "row": row,
        "command": program.argv(row.port),
        "directory": str(program.directory),
        "environment": {name: given[name] for name in sorted(given) if os.environ.get(name) != given[name]},
        "took": instance.ready_at - instance.began if instance and instance.ready_at else 0.0,
        "exits": list(slot.exits),
        "durations": [seconds for _, seconds in stats.recent],
        "last_lines": lines,
        "facts": [("advice", slot.advice.text)] if slot.advice.text else [],
    }
