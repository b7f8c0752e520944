"""What members say to each other. Each message carries an epoch, the sender's newest where nothing else is said."""

from __future__ import annotations

from typing import NamedTuple


class Ask(NamedTuple):
    """The active of `epoch` asks for a promise: do not stand for the Lease for `seconds`."""

    epoch: int
    round: int
    seconds: float


class Promise(NamedTuple):
    """`key` promises what was asked in that round."""

    epoch: int
    round: int
    key: str


class Refusal(NamedTuple):
    """`key` does not promise: the API answers it, or it knows a later epoch."""

    epoch: int
    round: int
    key: str


class Stopped(NamedTuple):
    """`holder` grants no more in `epoch`, in which it was the active."""

    epoch: int
    holder: str
    busy: frozenset[str]
    """The pods that are still busy for it."""
    unknown_for: float
    """Seconds for which any pod may still be busy for an earlier active, of which nothing is known."""


class Freed(NamedTuple):
    """`pod` is no longer busy for `holder`, which stopped in that epoch."""

    epoch: int
    holder: str
    pod: str
