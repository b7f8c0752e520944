"""Addresses to listen on: parsing, binding, and saying who is there already."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 4096
"""Connections the kernel may keep for us. A burst of that many is not refused; net.core.somaxconn caps it."""

DEFAULT_PORT = 3838

UNIX_PATH_LIMIT = 100
"""Bytes: 108 on Linux, 104 on macOS, the end included."""

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")


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

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def described(self) -> str:
        """The URL, and whether others than this machine can reach it."""
        return self.url if self.host not in ("", "0.0.0.0", "::") else f"{self.url} (all interfaces)"

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = {"": "localhost", "0.0.0.0": "localhost", "::": "localhost"}.get(self.host, self.host)
        return f"http://{Address(host, self.port)}"


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


def bind(address: Address | UnixAddress) -> socket.socket:
    """A socket bound to `address`, not listening yet. Raises AddressError."""
    try:
        sock = _bound_unix(address) if isinstance(address, UnixAddress) else _bound_socket(address)
    except OSError as error:
        raise AddressError(_why_not(address, error)) from error
    sock.setblocking(False)
    notice_the_vanished(sock)
    return sock


def notice_the_vanished(sock: socket.socket) -> None:
    """Accepted connections inherit it: a client that vanished without a word is noticed in the end."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _bound_unix(address: UnixAddress) -> socket.socket:
    """One that nobody listens on any more is replaced. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(address.path)
        sock.bind(address.path)
        if address.mode is not None:
            Path(address.path).chmod(address.mode)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Raises OSError if it is something else than a socket, or somebody answers."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, "there is a file of that name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        else:
            raise OSError(errno.EADDRINUSE, "somebody listens there")


def listen(sock: socket.socket, address: Address | UnixAddress) -> None:
    """Start listening. Raises AddressError: somebody else may have been faster since `bind`."""
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise AddressError(_why_not(address, error)) from error


def bound_address(sock: socket.socket, asked: Address | UnixAddress) -> Address | UnixAddress:
    """The address with the port that port 0 became."""
    if isinstance(asked, UnixAddress):
        return asked
    return Address(asked.host, sock.getsockname()[1])


def _bound_socket(address: Address) -> socket.socket:
    if address.host:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    elif socket.has_dualstack_ipv6():
        family, kind, protocol, target = socket.AF_INET6, socket.SOCK_STREAM, 0, ("::", address.port)
    else:
        family, kind, protocol, target = socket.AF_INET, socket.SOCK_STREAM, 0, ("0.0.0.0", address.port)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(address.host)))
        sock.bind(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _why_not(address: Address | UnixAddress, error: OSError) -> str:
    if isinstance(address, UnixAddress):
        return f"cannot listen on {address}: {error.strerror or error}"
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {address}: {address.host!r} is no address of this machine ({error.strerror})"
    if error.errno == errno.EADDRINUSE:
        from faucet.net.port_owner import who_listens

        owner = who_listens(address.port)
        by = f" by {owner}" if owner else ""
        return f"cannot listen on {address}: the port is in use{by}; choose another with --host"
    if error.errno == errno.EACCES:
        return f"cannot listen on {address}: ports below 1024 are for root; choose another with --host"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {address}: no interface of this machine has that address"
    return f"cannot listen on {address}: {error.strerror}"
