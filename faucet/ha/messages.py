"""The messages between members. Each contains an epoch: the sender's newest, unless documented otherwise."""

from __future__ import annotations

from typing import NamedTuple


class Ask(NamedTuple):
    """The active of `epoch` asks for a promise: do not stand for the Lease for `seconds`."""

    epoch: int
    round: int
    seconds: float


class Promise(NamedTuple):
    """The member `key` promises what was asked in this round."""

    epoch: int
    round: int
    key: str


class Refusal(NamedTuple):
    """The member `key` does not promise: it reaches the API, or it knows a later epoch."""

    epoch: int
    round: int
    key: str


class Stopped(NamedTuple):
    """`holder` has stopped granting in `epoch`, in which it was the active."""

    epoch: int
    holder: str
    busy: frozenset[str]
    """The pods that are still busy for `holder`."""
    unknown_for: float
    """Seconds for which any pod may still be busy for an earlier active whose busy pods are unknown."""


class Freed(NamedTuple):
    """`pod` is no longer busy for `holder`, which stopped in this epoch."""

    epoch: int
    holder: str
    pod: str
