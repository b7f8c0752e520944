"""The Faucets of one service as text, for `faucet ctl status` and the monitor."""

from __future__ import annotations

from typing import Any

from faucet.fleet import Group, GroupMember
from faucet.status.columns import format_age


def group_of(value: Any) -> Group | None:
    """Return a Group from its JSON form: a list of its fields, or a mapping."""
    if value is None:
        return None
    group = Group(**value) if isinstance(value, dict) else Group(*value)
    members = (GroupMember(**one) if isinstance(one, dict) else GroupMember(*one) for one in group.members)
    return group._replace(members=tuple(members))


def as_mapping(group: Group | None) -> dict[str, Any] | None:
    """Return a Group as a mapping of fields by name, for JSON output; None for None."""
    if group is None:
        return None
    return {**group._asdict(), "members": [member._asdict() for member in group.members]}


def role_text(group: Group, now: float) -> str:
    """Return the role of this Faucet: `active for 3m, epoch 4, term 5.2 s`."""
    age = format_age(now - group.since)
    if group.role == "active":
        return f"active for {age}, epoch {group.epoch}, term {max(group.term_until - now, 0):.1f} s"
    if group.role == "relay":
        return f"relay; {group.active} has been the active for {age}, epoch {group.epoch}"
    return f"waiting for an active for {age}"


def others_text(group: Group) -> str:
    """Return the other Faucets that relay: `relays: b (2 queued), c unreachable`; empty if there are none."""
    others = [member for member in group.members[1:] if member.state != "active"]
    texts = [
        f"{one.name} unreachable" if one.state == "unreachable" else f"{one.name} ({one.waiting} queued)"
        for one in others
    ]
    return f"relays: {', '.join(texts)}" if texts else ""


def trouble_text(group: Group, now: float) -> str:
    """Return why the Kubernetes API is unreachable, and for how long; empty if it answers."""
    if not group.trouble:
        return ""
    age = f"for {format_age(now - group.answered)}" if group.answered else "at all"
    return f"the Kubernetes API has not answered {age}: {group.trouble.splitlines()[0]}"


def lines(group: Group, now: float) -> list[str]:
    """Return the lines about a group for `faucet ctl status`; empty texts are left out."""
    quarantine = f"{group.quarantined} pods in quarantine" if group.quarantined else ""
    not_ready = f"not ready: {group.why_not_ready}" if group.why_not_ready else ""
    texts = (role_text(group, now), others_text(group), quarantine, trouble_text(group, now), not_ready)
    return [text for text in texts if text]
