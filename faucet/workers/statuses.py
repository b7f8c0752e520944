"""The status of a slot's processes, and the details of a worker that `ctl` and the monitor show."""

from __future__ import annotations

import os

from faucet.fleet import WorkerDetails, WorkerStatus
from faucet.workers.instance import Instance, State
from faucet.workers.slot import Slot


def slot_statuses(slot: Slot) -> list[WorkerStatus]:
    """Return the status of a slot's worker and, while that is being replaced, of the other processes."""
    others = [_beside(slot, instance) for instance in slot.instances if instance is not slot.instance]
    return [_slot_status(slot), *others]


def _slot_status(slot: Slot) -> WorkerStatus:
    state, reason = _state(slot)
    next_try = slot.next_try if state in ("failed", "backoff") else None
    return _status(slot, slot.instance, str(slot), state, reason, counted_as=str(slot), next_try=next_try)


def _beside(slot: Slot, instance: Instance) -> WorkerStatus:
    """Return the status of a process beside the one in service: its replacement, or a draining predecessor."""
    if instance is slot.successor:
        return _status(slot, instance, f"{slot}+", "starting", "replacement")
    return _status(slot, instance, f"{slot}-", "draining", _why(instance))


def _status(
    slot: Slot, instance: Instance | None, name: str, state: str, reason: str,
    counted_as: str = "", next_try: float | None = None,
) -> WorkerStatus:  # fmt: skip
    pid = 0 if instance is None or instance.process is None else instance.process.pid
    return WorkerStatus(
        key=counted_as or f"{name}{pid}",
        name=name,
        state=state,
        backend=None if instance is None else instance.backend,
        reason=reason,
        counted_as=counted_as,
        pid=pid,
        port=0 if instance is None else instance.port,
        since=None if instance is None else instance.ready_at or instance.began,
        next_try=next_try,
        restarts=slot.restarts,
        last_exit=slot.last_exit if counted_as else None,
    )


def _state(slot: Slot) -> tuple[str, str]:
    """Return the worker's state, and why it is not ready (empty if it is)."""
    instance = slot.instance
    last = slot.exits[-1].text if slot.exits else ""
    if instance is None and slot.stopping:
        return "draining", "ended"
    if instance is None:
        return ("failed" if slot.failed else "backoff"), slot.advice.fact or last or "not started yet"
    if instance.state is State.STARTING:
        doing = "warming up" if instance.warming else f"waiting for port {instance.port}"
        return "starting", slot.advice.fact or doing
    if instance.state is State.DRAINING:
        return "draining", _why(instance)
    if instance.state is State.OVER:
        return "backoff", _why(instance) or last
    return ("held" if slot.held else "ready"), ""


def _why(instance: Instance) -> str:
    """Return why an instance is ended, or how it has ended."""
    if instance.process is not None and instance.process.exited.done():
        return instance.outcome
    return instance.ending.text if instance.ending is not None else ""


def slot_details(slot: Slot) -> WorkerDetails:
    """Return all details of a worker: its status, command, environment, exits, and last lines."""
    instance, program = slot.instance, slot.context.program
    status = _slot_status(slot)
    lines = slot.last_lines if instance is None or instance.process is None else list(instance.process.last_lines)
    return WorkerDetails(
        status,
        {
            "command": program.argv(status.port),
            "directory": str(program.directory),
            "environment": _environment(slot, status.port),
            "took": instance.ready_at - instance.began if instance and instance.ready_at else 0.0,
            "exits": list(slot.exits),
            "last_lines": lines,
            "facts": [("advice", slot.advice.text)] if slot.advice.text else [],
        },
    )


def _environment(slot: Slot, port: int) -> dict[str, str]:
    """Return what a worker's environment has beside our own; without a port, only what does not depend on it."""
    given = slot.context.program.environment(port, slot.number)
    if not port:
        other = slot.context.program.environment(1, slot.number)
        given = {name: value for name, value in given.items() if other[name] == value}
    return {name: given[name] for name in sorted(given) if os.environ.get(name) != given[name]}
