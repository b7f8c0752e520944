"""The decisions of the election. The caller carries them out, and reports the outcome as another event."""

from __future__ import annotations

from dataclasses import dataclass

from faucet.ha.messages import Ask, Promise, Refusal
from faucet.ha.record import Record


@dataclass(frozen=True)
class Read:
    """Read the Lease; report `was_read`, or `call_failed` after Timing.call_timeout."""


@dataclass(frozen=True)
class Write:
    """Write the Lease if it still has that version; report `was_written`, `was_refused`, or `call_failed`."""

    record: Record
    version: str
    """The version to replace. Empty: create the Lease if there is none."""


@dataclass(frozen=True)
class Began:
    """This member is the active now. It took the Lease from `previous`, which is None if there was no Lease."""

    epoch: int
    previous: Record | None


@dataclass(frozen=True)
class Ended:
    """This member is no longer the active: grant nothing, and tell all members. `why` is shown to users."""

    epoch: int
    why: str


@dataclass(frozen=True)
class AskAll:
    """Send the question to all members."""

    ask: Ask


@dataclass(frozen=True)
class Reply:
    """Send this message to the active that asked."""

    message: Promise | Refusal


Call = Read | Write
Decision = Read | Write | Began | Ended | AskAll | Reply
