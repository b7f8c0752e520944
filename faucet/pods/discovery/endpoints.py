"""The answers of a resolver: the endpoints of a service, or why they are unknown.

A resolver yields an answer whenever the endpoints may have changed; `pods.endpoint_set` decides what follows from it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Endpoint(NamedTuple):
    """The address of one pod."""

    host: str
    """An IP address, never a name: a name could resolve differently each time, and the lock is on one address."""
    port: int
    name: str = ""
    """The pod's name, if it is known."""
    ready: bool = True
    """Whether the pod is ready for requests."""
    terminating: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Host and port, which identify the endpoint."""
        return self.host, self.port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Found:
    """The endpoints of the service; may be empty."""

    endpoints: tuple[Endpoint, ...]
    ttl: float | None = None
    """Seconds for which this answer is valid; None if the source does not say."""
    remark: str = ""
    """A warning for the user; may be empty."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The name does not exist. `text` is shown to the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Resolution failed, so the endpoints are unknown. `text` is shown to the user."""

    text: str


Answer = Found | Missing | Trouble


class Denied(Exception):
    """A source refuses Faucet for good. The message is shown to the user, and says what to do."""


class Unusable(Exception):
    """The answer of a source is invalid or ambiguous. The message is shown to the user."""


class Resolver(Protocol):
    """A source of endpoints."""

    @property
    def described(self) -> str:
        """How the resolver works, in a few words."""
        ...

    @property
    def by_name(self) -> bool:
        """Whether it resolves names only, which may yield the address of the service instead of those of its pods."""
        ...

    def answers(self) -> AsyncGenerator[Answer, None]:
        """Yield answers as they arrive, without end. Raises Denied."""
        ...

    def hurry(self) -> None:
        """Resolve again soon: the last answer may be outdated."""
        ...


def one_family(hosts: Iterable[str]) -> list[str]:
    """Return the IP addresses, sorted and without duplicates: only IPv4 ones, if there are any, else all.

    A pod (and `localhost`) may have an address of each kind, and DNS does not say which belong together: with both
    there would be two locks for one worker. Raises ValueError for an invalid IP address.
    """
    addresses = sorted({ipaddress.ip_address(host) for host in hosts}, key=lambda address: (address.version, address))
    least = min((address.version for address in addresses), default=4)
    return [str(address) for address in addresses if address.version == least]
