"""Addresses to listen on: their syntax and text. `binding` binds sockets to them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_PORT = 3838

UNIX_PATH_LIMIT = 100
"""Longest path of a Unix socket, in bytes: 108 on Linux, 104 on macOS, the final NUL included."""

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")


EVERYWHERE = frozenset(("0.0.0.0", "::"))
"""The hosts that mean every interface."""


class AddressError(Exception):
    """An invalid address, or one that cannot be listened on. The message is shown to the user."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket, and its permissions."""

    path: str
    mode: int | None = None
    """Permissions; None: by the umask."""
    port: int = 0
    """Always 0: a Unix socket has no port."""

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def described(self) -> str:
        """The address as the user writes it."""
        return str(self)

    @property
    def url(self) -> str:
        """The address in place of a URL."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. An empty host means every interface."""

    host: str
    port: int
    bound: tuple[str, ...] = ()
    """The numeric addresses of the host, after binding; empty before."""
    scheme: str = "http"
    """What is spoken there: `http` or `https`."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def described(self) -> str:
        """The URL, followed by the interfaces or numeric addresses that the URL does not show."""
        if self._everywhere:
            return f"{self.url} (all interfaces)"
        return self.url if self.bound in ((), (self.host,)) else f"{self.url} ({' and '.join(self.bound)})"

    @property
    def _everywhere(self) -> bool:
        return self.host == "" or not EVERYWHERE.isdisjoint((self.host, *self.bound))

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        return f"{self.scheme}://{Address('localhost' if self._everywhere else self.host, self.port)}"


UNIX = "unix:"

_MODE = re.compile(r"(?P<path>[^?]+)(?:\?mode=(?P<mode>[0-7]{3,4}))?")


def parse_listen(text: str) -> Address | UnixAddress:
    """Parse an address as `parse_address` does, or `unix:/run/faucet.sock?mode=660`. Raises AddressError."""
    if not text.startswith(UNIX):
        return parse_address(text)
    match = _MODE.fullmatch(text.removeprefix(UNIX))
    if match is None or len(match["path"].encode()) > UNIX_PATH_LIMIT:
        raise AddressError(
            f"invalid Unix socket {text!r}; examples: unix:/run/faucet.sock, unix:/run/faucet.sock?mode=660"
        )
    return UnixAddress(match["path"], int(match["mode"], 8) if match["mode"] else None)


def parse_address(text: str) -> Address:
    """Parse `127.0.0.1:3838`, `localhost:80`, `[::1]:3838`, `:8080`, or a host or port alone. Raises AddressError."""
    whole = f"127.0.0.1:{text}" if text.isdecimal() else text
    if ":" not in text.rpartition("]")[2]:
        whole = whole if text.isdecimal() else f"{text}:{DEFAULT_PORT}"
    match = _ADDRESS.fullmatch(whole)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"invalid address {text!r}; examples: 127.0.0.1:3838, :8080, [::1]:3838")
    return Address(match["six"] or match["host"], int(match["port"]))


def twice(hosts: Sequence[Address | UnixAddress], admin: Address | None) -> str:
    """Return an error message if two of the addresses are the same; empty if none are."""
    named = [("--host", address) for address in hosts]
    named += [("--admin", admin)] if admin is not None else []
    for number, (option, address) in enumerate(named):
        for other_option, other in named[:number]:
            if _overlap(address, other):
                free = "another port, e.g. --admin 127.0.0.1:3839" if option == "--admin" else "each address once"
                return f"{option} {address} and {other_option} {other} are the same address; use {free}"
    return ""


def _overlap(one: Address | UnixAddress, other: Address | UnixAddress) -> bool:
    if isinstance(one, UnixAddress) or isinstance(other, UnixAddress):
        return isinstance(one, UnixAddress) and isinstance(other, UnixAddress) and one.path == other.path
    if not one.port or one.port != other.port:
        return False
    hosts = [{"localhost": "127.0.0.1"}.get(address.host.lower(), address.host.lower()) for address in (one, other)]
    if hosts[0] == hosts[1] or "" in hosts:  # every interface, of both kinds
        return True
    if "0.0.0.0" in hosts or "::" in hosts:
        return (":" in hosts[0]) == (":" in hosts[1])
    return False


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
