"""Addresses to listen on: how they are written. `binding` makes sockets of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_PORT = 3838

UNIX_PATH_LIMIT = 100
"""Bytes: 108 on Linux, 104 on macOS, the end included."""

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")


EVERYWHERE = frozenset(("0.0.0.0", "::"))
"""What every interface is called."""


class AddressError(Exception):
    """An address that is none, or that cannot be listened on. The text is for the user."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket, and who may connect to it."""

    path: str
    mode: int | None = None
    """Permissions; None: as the umask says."""
    port: int = 0
    """It has none."""

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def described(self) -> str:
        """As it was written."""
        return str(self)

    @property
    def url(self) -> str:
        """What stands for a URL."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. An empty host is every interface."""

    host: str
    port: int
    bound: tuple[str, ...] = ()
    """The numeric addresses that the host has turned out to be, once it is bound."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def described(self) -> str:
        """The URL, and whether others than this machine can reach it."""
        if self._everywhere:
            return f"{self.url} (all interfaces)"
        return self.url if self.bound in ((), (self.host,)) else f"{self.url} ({' and '.join(self.bound)})"

    @property
    def _everywhere(self) -> bool:
        return self.host == "" or not EVERYWHERE.isdisjoint((self.host, *self.bound))

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        return f"http://{Address('localhost' if self._everywhere else self.host, self.port)}"


UNIX = "unix:"

_MODE = re.compile(r"(?P<path>[^?]+)(?:\?mode=(?P<mode>[0-7]{3,4}))?")


def parse_listen(text: str) -> Address | UnixAddress:
    """An address as `parse_address` has it, or `unix:/run/faucet.sock?mode=660`. Raises AddressError."""
    if not text.startswith(UNIX):
        return parse_address(text)
    match = _MODE.fullmatch(text.removeprefix(UNIX))
    if match is None or len(match["path"].encode()) > UNIX_PATH_LIMIT:
        raise AddressError(
            f"{text!r} is no Unix socket: write unix:/run/faucet.sock, or unix:/run/faucet.sock?mode=660"
        )
    return UnixAddress(match["path"], int(match["mode"], 8) if match["mode"] else None)


def parse_address(text: str) -> Address:
    """`127.0.0.1:3838`, `localhost:80`, `[::1]:3838`, `:8080`; a host alone, or a port alone. Raises AddressError."""
    whole = f"127.0.0.1:{text}" if text.isdecimal() else text
    if ":" not in text.rpartition("]")[2]:
        whole = whole if text.isdecimal() else f"{text}:{DEFAULT_PORT}"
    match = _ADDRESS.fullmatch(whole)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"{text!r} is no address: write 127.0.0.1:3838, :8080 or [::1]:3838")
    return Address(match["six"] or match["host"], int(match["port"]))


def twice(hosts: Sequence[str], admin: str | None) -> str:
    """What is wrong if one address is listened on twice; empty if none is. Raises AddressError."""
    named = [("--host", text, parse_listen(text)) for text in hosts]
    named += [("--admin", admin, parse_address(admin))] if admin else []
    for number, (option, text, address) in enumerate(named):
        for other_option, other_text, other in named[:number]:
            if _overlap(address, other):
                free = "another port, e.g. --admin 127.0.0.1:3839" if option == "--admin" else "each address once"
                return f"{option} {text} and {other_option} {other_text} are the same address; name {free}"
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
