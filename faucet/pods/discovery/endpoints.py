"""What a resolver says: the endpoints of a service, or why it cannot tell them.

A resolver yields an answer whenever it has news, by itself; whoever listens decides what follows from it (`roster`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Endpoint(NamedTuple):
    """One address that serves."""

    host: str
    """An IP address, never a name: a name could be another address each time, and the lock is on one."""
    port: int
    name: str = ""
    """Of the pod, where it is known."""
    ready: bool = True
    """It wants requests."""
    terminating: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """What tells it apart from others."""
        return self.host, self.port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Found:
    """The endpoints of the service; perhaps none."""

    endpoints: tuple[Endpoint, ...]
    ttl: float | None = None
    """Seconds for which this answer may be used, where the source tells."""
    remark: str = ""
    """What the user should know about it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such name. A sentence for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Nobody could tell. A sentence for the user."""

    text: str


Answer = Found | Missing | Trouble


class Denied(Exception):
    """A source does not talk to us, and will not later. The text is for the user, with what to do."""


class Unusable(Exception):
    """A source answered, but nothing can be made of it. The text is for the user."""


class Resolver(Protocol):
    """Where endpoints come from."""

    @property
    def described(self) -> str:
        """How it resolves, in a few words."""
        ...

    @property
    def by_name(self) -> bool:
        """It knows names only, so it may be told the address of a service where its pods are meant."""
        ...

    def answers(self) -> AsyncGenerator[Answer, None]:
        """Answers, as they come, without end. Raises Denied."""
        ...

    def hurry(self) -> None:
        """There is reason to believe that the last answer is not true any more."""
        ...


def one_family(hosts: Iterable[str]) -> list[str]:
    """Each of the IP addresses once, in order; the IPv4 ones, if there are any, else all.

    A pod (and `localhost`) may have an address of each kind, and nothing in DNS tells which belong together: with both
    there would be two locks for one worker. Raises ValueError if one is no IP address.
    """
    addresses = sorted({ipaddress.ip_address(host) for host in hosts}, key=lambda address: (address.version, address))
    least = min((address.version for address in addresses), default=4)
    return [str(address) for address in addresses if address.version == least]


def is_address(host: str) -> bool:
    """Whether it is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
