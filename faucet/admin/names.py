"""Under which names the admin pages are asked for: only its own, so that a web page cannot read them (DNS rebinding).

A page at `evil.example` may let that name point to 127.0.0.1, and the browser then lets it read what the admin listener
answers there. The browser still sends `Host: evil.example`. An address as Host cannot be a trick, and neither can a
name that nobody can register: one label (`localhost`, a Compose service) or a reserved suffix.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from faucet.net.address import is_address

RESERVED = ("localhost", "local", "internal", "svc", "test", "home.arpa")
"""Suffixes outside of public DNS: RFC 6761, 6762 and 8375, ICANN's `internal`, and the services of Kubernetes."""

_SUFFIXES = tuple(f".{name}" for name in RESERVED)


class OwnNames:
    """Recognizes Host fields that mean this listener."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """`more`: names beside this machine's own, e.g. of a proxy in front; `*` for any."""
        names = {name.lower().rstrip(".") for name in (*more, socket.gethostname())}
        self._any = "*" in names
        self._names = names

    def include(self, host: bytes | None) -> bool:
        """Whether a request with this Host field (`name` or `name:port`; None: there is none) may be answered."""
        if not host or self._any:  # without Host it is no browser
            return True
        name = _without_port(host.decode("latin-1")).lower().rstrip(".")
        return name in self._names or "." not in name or name.endswith(_SUFFIXES) or is_address(name)


def _without_port(host: str) -> str:
    return host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
