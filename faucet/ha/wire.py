"""The messages between members as lines of JSON, and back. No I/O.

A line is an array: the name of the message, then its fields. Any other line is refused, since both ends are Faucet.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

from faucet.ha.messages import Ask, Freed, Promise, Refusal, Stopped

LINE_LIMIT = 256 * 1024
"""Longest line, in bytes: Stopped names every busy pod."""


class Hello(NamedTuple):
    """The first message of a relay to the active."""

    epoch: int
    key: str
    identity: str
    address: str
    """The address on which the relay itself listens for members."""
    stopped: Stopped | None
    """The pods that are still busy for the relay, if it was the active before."""


class Welcome(NamedTuple):
    """The active's answer to Hello."""

    epoch: int


class NotActive(NamedTuple):
    """The answer to Hello of a member that is not the active."""

    epoch: int


class Ping(NamedTuple):
    """A periodic message that shows that the sender is alive."""

    epoch: int
    waiting: int
    """Number of requests queued at the sender."""


Message = Ask | Promise | Refusal | Stopped | Freed | Hello | Welcome | NotActive | Ping


class BadMessage(Exception):
    """A line is not a valid message."""


def encode(message: Message) -> bytes:
    """Return the line of a message."""
    return json.dumps([type(message).__name__, *map(_plain, message)], separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Stopped):
        return [_plain(field) for field in value]
    return sorted(value) if isinstance(value, frozenset) else value


def decode(line: bytes) -> Message:
    """Return the message of a line. Raises BadMessage."""
    try:
        name, *fields = json.loads(line)
        kind, shape = _SHAPES[name]
        return kind(*(take(value) for take, value in zip(shape, fields, strict=True)))  # type: ignore[no-any-return]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadMessage(f"invalid message between members: {line[:80]!r}") from error


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(value)
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value) or value < 0:
        raise ValueError(value)
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _texts(value: Any) -> frozenset[str]:
    if not isinstance(value, list):
        raise TypeError(value)
    return frozenset(map(_text, value))


def _stopped(value: Any) -> Stopped | None:
    if value is None:
        return None
    epoch, holder, busy, unknown_for = value
    return Stopped(_integer(epoch), _text(holder), _texts(busy), _seconds(unknown_for))


_SHAPES: dict[str, tuple[Callable[..., Any], tuple[Callable[[Any], Any], ...]]] = {
    "Ask": (Ask, (_integer, _integer, _seconds)),
    "Promise": (Promise, (_integer, _integer, _text)),
    "Refusal": (Refusal, (_integer, _integer, _text)),
    "Stopped": (Stopped, (_integer, _text, _texts, _seconds)),
    "Freed": (Freed, (_integer, _text, _text)),
    "Hello": (Hello, (_integer, _text, _text, _text, _stopped)),
    "Welcome": (Welcome, (_integer,)),
    "NotActive": (NotActive, (_integer,)),
    "Ping": (Ping, (_integer, _integer)),
}
