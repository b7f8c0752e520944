"""A limit for some endpoints: which requests it is for, and what they are held to.

    GET /report/* at-once=1 queue=50 queue-timeout=10m timeout=10m priority=-1

The same keys make a `[[limit]]` table of `faucet.toml`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from faucet.text import LOOSELY, did_you_mean
from faucet.units import format_duration, parse_duration

MOST_PRIORITY = 9

EXAMPLE = "GET /report/* at-once=1 queue=50 timeout=10m"

_METHOD = re.compile(r"[A-Z]+")
_SEGMENT = re.compile(r"<[^<>/]*>")


@dataclass(frozen=True, slots=True)
class Limit:
    """What requests are held to whose method and path match."""

    match: str
    """`GET /report/*`, or `/report/*` for every method."""
    at_once: int | None = None
    """Locks that they may hold at the same time; None: as many as there are workers."""
    queue: int | None = None
    """How many of them may wait; None: as many as of all others."""
    queue_timeout: float | None = None
    """Seconds that one may wait, 0 for ever; None: as all others."""
    timeout: float | None = None
    """Seconds from the lock to the end of the response, 0 for ever; None: as all others."""
    priority: int = 0

    @property
    def pattern(self) -> bytes:
        """A regular expression for the requests that it is for: method, blank, path."""
        return pattern_of(self.match)

    def __str__(self) -> str:
        return " ".join([self.match, *(f"{key}={_shown(value)}" for key, value in self._given())])

    def _given(self) -> list[tuple[str, Any]]:
        pairs = [(key, getattr(self, key.replace("-", "_"))) for key in _VALUES]
        return [(key, value) for key, value in pairs if value is not None and (key, value) != ("priority", 0)]


def _shown(value: float) -> str:
    return format_duration(value) if isinstance(value, float) and value else f"{value:g}"


def parse_limit(text: str) -> Limit:
    """Return the limit that `text` describes. Raises ValueError."""
    words = text.split()
    keyed = [word for word in words if not word.startswith("/") and "=" in word]
    match = check_match(" ".join(word for word in words if word not in keyed))
    values: dict[str, Any] = {}
    for word in keyed:
        key, _, value = word.partition("=")
        name = _known(key)
        if name in values:
            raise ValueError(f"{key} is there twice in {text!r}")
        values[name] = _value(key, value)
    if not values:
        raise ValueError(f"{text!r} limits nothing; add {', '.join(f'{key}=' for key in _VALUES)} as in {EXAMPLE!r}")
    return Limit(match, **values)


def differing(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """Return `limits`, if no two are for the same requests. Raises ValueError."""
    for number, limit in enumerate(limits):
        if any(limit.match == other.match for other in limits[:number]):
            raise ValueError(f"{limit.match} is limited twice; write one limit with all its keys")
    return limits


def check_match(text: str) -> str:
    """Return `text` if it can be matched with requests. Raises ValueError."""
    method, blank, path = text.rpartition(" ")
    if not path.startswith("/") or (blank and not _METHOD.fullmatch(method)):
        raise ValueError(f"invalid match {text!r}; expected a path, or a method and a path: GET /report/*")
    if "?" in path or "#" in path:
        raise ValueError(f"invalid match {text!r}: the query does not count; leave out what is behind the path")
    for segment in path.split("/"):
        if ("<" in segment or ">" in segment) and not _SEGMENT.fullmatch(segment):
            raise ValueError(f"invalid match {text!r}: <…> stands for one whole part of a path, as in /users/<id>")
    return text


def _known(key: str) -> str:
    """Return the field that is meant. Raises ValueError."""
    name = key.replace("_", "-")
    if name not in _VALUES:
        hint = did_you_mean(name, _VALUES, LOOSELY) or f"; expected {', '.join(_VALUES)}"
        raise ValueError(f"a limit has no {key!r}{hint}")
    return name.replace("-", "_")


def _value(key: str, text: str) -> Any:
    """Raises ValueError."""
    try:
        return _VALUES[key.replace("_", "-")](text)
    except ValueError as error:
        raise ValueError(f"{key}={text}: {error}") from None


def _number(least: int, most: int) -> Any:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least}" + (f" to {most}" if most < 10**9 else ""))
        return int(text)

    return parse


_VALUES = {
    "at-once": _number(1, 10**9),
    "queue": _number(0, 10**9),
    "queue-timeout": parse_duration,
    "timeout": parse_duration,
    "priority": _number(-MOST_PRIORITY, MOST_PRIORITY),
}
"""What a limit can say, and how each value is read."""


def pattern_of(match: str) -> bytes:
    """Return a regular expression for method, blank and path of the requests that `match` is for.

    `*` is any text, `<id>` one part of a path. `GET` is for HEAD, too: most programs compute the same for it. No
    request can make it slow: what is between two stars is looked for once, from left to right (atomic groups).
    """
    method, _, path = match.rpartition(" ")
    verbs = {"": "[^ ]+", "GET": "(?:GET|HEAD)"}.get(method, method)
    first, *others = [_literal(part) for part in path.split("*")]
    rest = "".join(f"(?>.*?{part})" for part in others[:-1]) + (f".*{others[-1]}" if others else "")
    return f"(?s:{verbs} {first}{rest})".encode()


def _literal(text: str) -> str:
    parts = _SEGMENT.split(text)
    return "[^/]++".join(re.escape(part) for part in parts)
