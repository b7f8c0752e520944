"""Binds sockets to the addresses to listen on; errors name the reason and the process in the way."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection, Sequence
from typing import Any

from faucet.net.address import Address, AddressError, UnixAddress
from faucet.net.unix_socket import bind_unix

BACKLOG = 4096
"""Connections that the kernel may queue. A burst of that many is not refused; net.core.somaxconn caps it."""

UNSENT_LIMIT = 128 * 1024
"""The most bytes of a response that the kernel holds for one client beyond those in flight.

By default the kernel takes up to 4 MB (net.ipv4.tcp_wmem). With 500 clients that do not read, that fills all memory for
TCP, and then each connection of the machine crawls: measured, a response of 2 MB from a worker took 240 ms instead of
15. Bytes that the kernel does not take wait in Faucet's buffers, where they are counted and limited.
"""

PORT_TRIES = 20
"""Ports to try with port 0, when a name has several addresses and the port is not free on all of them."""

_NOT_HERE = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT))
"""No interface of this machine has the address, or the kernel lacks its family: usually because IPv6 is off."""

_Target = tuple[int, tuple[Any, ...]]
"""An address family, and a socket address of that family: host, port, and for IPv6 flow and scope."""


HOST = "--host"
"""The option that names an address, if no other is said."""


def bind(
    address: Address | UnixAddress, taken: Collection[tuple[str, int]] = (), option: str = HOST
) -> list[socket.socket]:
    """Return sockets that are bound to `address`, not listening yet. `option` named it, which errors tell.

    A name may have several addresses (localhost: 127.0.0.1 and ::1). There is a socket for each of them that this
    machine has, all with one port. Those in `taken` are left out. Raises AddressError.
    """
    sockets = [_bound_unix(address)] if isinstance(address, UnixAddress) else _bound_together(address, taken, option)
    for sock in sockets:
        sock.setblocking(False)
        inherited_by_clients(sock)
    return sockets


def inherited_by_clients(sock: socket.socket) -> None:
    """Set the TCP options that accepted connections inherit: keepalive, so that vanished clients are noticed, and no
    delay, which asyncio sets only on sockets that state their protocol."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)


def listen(sock: socket.socket, address: Address | UnixAddress, option: str = HOST) -> None:
    """Start listening, with a socket from `bind`. Raises AddressError: another process may have been faster."""
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise AddressError(_why_not(address, error, _numeric(sock), option)) from error


def bound_address(sockets: Sequence[socket.socket], asked: Address | UnixAddress) -> Address | UnixAddress:
    """Return the address with the actual port instead of 0, and the numeric addresses of its name."""
    if isinstance(asked, UnixAddress) or not sockets:
        return asked
    names = [sock.getsockname() for sock in sockets]
    return Address(asked.host, names[0][1], tuple(name[0] for name in names))


def _bound_unix(address: UnixAddress) -> socket.socket:
    """Bind a Unix socket; a stale one is replaced. Raises AddressError."""
    try:
        return bind_unix(address.path, address.mode)
    except OSError as error:
        raise AddressError(_why_not(address, error)) from error


def _bound_together(address: Address, taken: Collection[tuple[str, int]], option: str) -> list[socket.socket]:
    """Bind a socket to each address of the host. With port 0, try until a port is free on all of them."""
    targets = _targets(address)
    free = [target for target in targets if (target[1][0], address.port) not in taken]
    for left in reversed(range(PORT_TRIES)):
        try:
            return _bound_once(address, free, option, may_miss_all=len(free) < len(targets))
        except AddressError as error:
            if not left or address.port or not _is_in_use(error.__cause__):
                raise
    raise AssertionError("the last try returns or raises")


def _is_in_use(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE


def _targets(address: Address) -> list[_Target]:
    """Return the socket addresses of the host. Raises AddressError."""
    if not address.host:
        if socket.has_dualstack_ipv6():
            return [(socket.AF_INET6, ("::", address.port))]
        return [(socket.AF_INET, ("0.0.0.0", address.port))]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # ValueError: invalid name, e.g. a label of more than 63 letters
        raise AddressError(_unresolved(address, error)) from error
    return list(dict.fromkeys((int(family), target) for family, _, _, _, target in found))


def _bound_once(address: Address, targets: Sequence[_Target], option: str, may_miss_all: bool) -> list[socket.socket]:
    """Bind all `targets` to one port. Addresses that this machine lacks are left out, unless it lacks all."""
    bound: list[socket.socket] = []
    missing: AddressError | None = None
    port = address.port
    with contextlib.ExitStack() as opened:
        for family, (host, _, *more) in targets:
            try:
                sock = _bound_socket(family, (host, port, *more), only_v6=bool(address.host))
            except OSError as error:
                missing = AddressError(_why_not(address, error, str(Address(host, port)), option))
                if error.errno not in _NOT_HERE:
                    raise missing from error
                continue
            opened.callback(sock.close)
            bound.append(sock)
            port = sock.getsockname()[1]
        if missing is not None and not bound and not may_miss_all:
            raise missing
        opened.pop_all()
    return bound


def _bound_socket(family: int, target: tuple[Any, ...], only_v6: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
        sock.bind(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _numeric(sock: socket.socket) -> str:
    name = sock.getsockname()
    return str(Address(name[0], name[1])) if isinstance(name, tuple) else ""


def _unresolved(address: Address, error: Exception) -> str:
    """Return a message about a host that could not be resolved."""
    begin = f"cannot listen on {address}: "
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return (
            f"{begin}the name {address.host!r} cannot be resolved now ({error.strerror}); use a numeric address, or "
            "try again once the name server answers"
        )
    if isinstance(error, OSError):
        return (
            f"{begin}the name {address.host!r} has no address ({error.strerror}); correct it, or use a numeric address "
            "of this machine"
        )
    return f"{begin}{address.host!r} is not a host name; use 127.0.0.1, localhost, or an address of this machine"


def _why_not(address: Address | UnixAddress, error: OSError, numeric: str = "", option: str = HOST) -> str:
    """Return a message about an address that could not be bound. `numeric` is the numeric address that failed."""
    if isinstance(address, UnixAddress):
        return f"cannot listen on {address}: {error.strerror or error}; choose another path with {option}"
    host = numeric.rpartition(":")[0].strip("[]")
    which = f" ({numeric})" if address.host and host != address.host else ""
    begin = f"cannot listen on {address}{which}: "
    if error.errno == errno.EADDRINUSE:
        from faucet.net.port_owner import who_listens

        owner = who_listens(int(numeric.rpartition(":")[2]), host)
        by = f" by {owner}" if owner else ""
        return f"{begin}the port is in use{by}; choose another with {option}"
    if error.errno == errno.EACCES:
        return f"{begin}ports below 1024 need root; choose another with {option}"
    if error.errno in _NOT_HERE:
        return f"{begin}no interface of this machine has that address; choose another with {option}"
    return f"{begin}{error.strerror}"
