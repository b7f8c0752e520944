"""Who may see the monitor in a browser, and act on it. Pure: fields of a request in, a decision out.

A web page of anybody may ask a browser for http://127.0.0.1:8081, and even open a WebSocket to it: so a request must be
for one of our own names (DNS rebinding), and a WebSocket from one of our own pages (its Origin). Where other machines
reach it, a browser must know a token, too; it is kept as a cookie.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum
from ipaddress import ip_address
from urllib.parse import urlsplit

from faucet.admin.names import OwnNames


class Decision(Enum):
    """What becomes of a request."""

    PASS = 200
    WELCOME = 303
    """It brought the token, which is kept as a cookie from now on."""
    NO_TOKEN = 401
    OTHER_ORIGIN = 403
    OTHER_NAME = 421


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches `host`, a name or an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """Decides about requests to one server."""

    def __init__(self, token: str) -> None:
        """`token`: what a browser has to know; empty: nothing."""
        self._token = token
        self._names = OwnNames()
        self.cookie = hashlib.sha256(f"faucet {token}".encode()).hexdigest()
        """The value of the cookie: the token cannot be read from it."""

    def decide(self, host: str | None, origin: str | None, given: str | None, cookie: str | None) -> Decision:
        """Decide about a request: its fields Host and Origin, the token in its query, and its cookie."""
        if not self._names.include(host.encode("latin-1", "replace") if host else None) and not self._token:
            return Decision.OTHER_NAME
        if origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower():
            return Decision.OTHER_ORIGIN
        if not self._token or hmac.compare_digest((cookie or "").encode(), self.cookie.encode()):
            return Decision.PASS
        if given is not None and hmac.compare_digest(given.encode(), self._token.encode()):
            return Decision.WELCOME
        return Decision.NO_TOKEN
