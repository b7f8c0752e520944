"""What simulated Faucets say to one another, beside the messages of faucet/ha."""

from __future__ import annotations

from typing import NamedTuple

from faucet.ha.messages import Stopped
from tests.support.ha_world import Request


class Hello(NamedTuple):
    """The first message of a relay: who it is, and what it still has in use."""

    epoch: int
    key: str
    identity: str
    address: str
    stopped: Stopped | None


class Welcome(NamedTuple):
    """The active's answer: requests may come."""

    epoch: int


class NotActive(NamedTuple):
    """The other answer."""

    epoch: int


class Forward(NamedTuple):
    """A request for the active of that epoch."""

    epoch: int
    request: Request


class NotBegun(NamedTuple):
    """It was not begun: take it elsewhere."""

    epoch: int
    request: Request


class Answer(NamedTuple):
    """It is answered."""

    epoch: int
    request: Request
