"""Ongoing problems of the slots of a service, as `status` shows them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from faucet.fleet import Fault
from faucet.log.r_errors import why_failed
from faucet.workers.rolling import FailedRoll
from faucet.workers.slot import Slot


def failed_reload(slots: Sequence[Slot], failed: FailedRoll | None) -> Fault | None:
    """Return the failure of the latest rolling restart, as long as workers that are older than it are in service."""
    if failed is None:
        return None
    old = sum(
        slot.instance is not None and slot.instance.in_service and slot.instance.loaded < failed.began for slot in slots
    )
    error = failed.error
    return Fault(failed.when, error.short, old, f"{failed.cause}: {error}", error.command) if old else None


def failed_starts(slots: Sequence[Slot]) -> Fault | None:
    """Return why some workers cannot be started, from the one that has failed for the longest time."""
    failing = [slot for slot in slots if slot.failed_starts and not slot.in_service]
    if not failing:
        return None
    slot = min(failing, key=lambda slot: slot.failing_since)
    last = slot.exits[-1].text if slot.exits else "failed"
    lines = "".join(f"\n  | {line}" for line in slot.last_lines)
    detail = f"worker {slot} {last}{lines}"
    fact = slot.advice.text or why_failed(slot.last_lines) or f"worker {slot} {last}"
    return Fault(slot.failing_since, fact, len(failing), detail, slot.advice.command)
