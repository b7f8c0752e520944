"""Host names under which the admin pages are served: only the listener's own, to prevent DNS rebinding.

A page at `evil.example` can make that name resolve to 127.0.0.1, and the browser then lets the page read responses of
the admin listener. The browser still sends `Host: evil.example`. An IP address as Host is safe, and so is a name that
cannot be registered: a single label (`localhost`, a Compose service) or a reserved suffix.
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
        """Accept this machine's name and the names in `more`, e.g. of a reverse proxy; `*` accepts any name."""
        names = {name.lower().rstrip(".") for name in (*more, socket.gethostname())}
        self._any = "*" in names
        self._names = names

    def include(self, host: bytes | None) -> bool:
        """Return whether to answer a request with this Host field: `name`, `name:port`, or None without a field."""
        if not host or self._any:  # a client without Host is not a browser
            return True
        name = _without_port(host.decode("latin-1")).lower().rstrip(".")
        return name in self._names or "." not in name or name.endswith(_SUFFIXES) or is_address(name)


def _without_port(host: str) -> str:
    return host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
