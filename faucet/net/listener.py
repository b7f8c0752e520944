"""The listening sockets, and their graceful close: connections that the kernel has accepted are answered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import struct
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from faucet.net.acceptor import Acceptor, Factory, always_room
from faucet.net.address import Address, UnixAddress
from faucet.net.binding import BACKLOG, HOST, bind, bound_address, inherited_by_clients, listen

TCP_INFO_WAITING = 24
"""Offset in Linux' struct tcp_info, in bytes: connections to be accepted from a listening socket (`tcpi_unacked`)."""


def _ignore() -> None:
    pass


class Listener:
    """One address to listen on: bound at once, so that conflicts show before anything starts; listening from `open` on.

    A name with several addresses has several sockets.
    """

    def __init__(
        self,
        address: Address | UnixAddress,
        inherited: socket.socket | None = None,
        taken: Collection[tuple[str, int]] = (),
        option: str = HOST,
    ) -> None:
        """Bind. `inherited`: a socket that listens already; `taken`: addresses to leave out; `option` named the
        address. Raises AddressError."""
        self.sockets = bind(address, taken, option) if inherited is None else [inherited]
        self._option = option
        self._inherited = inherited is not None
        self.address = bound_address(self.sockets, address)
        self._acceptors: list[Acceptor] = []
        self._factory: Factory | None = None

    @property
    def taken(self) -> set[tuple[str, int]]:
        """The numeric addresses and ports that the listener is bound to."""
        names = [sock.getsockname() for sock in self.sockets]
        return {(name[0], name[1]) for name in names if isinstance(name, tuple)}

    async def open(
        self, factory: Factory, room: Callable[[int], bool] = always_room, short: Callable[[], None] = _ignore
    ) -> None:
        """Start accepting connections; see Acceptor for `room` and `short`. Raises AddressError."""
        for sock in () if self._inherited else self.sockets:
            listen(sock, self.address, self._option)
        self._factory = factory
        self._acceptors = [Acceptor(sock, factory, room, short) for sock in self.sockets]

    async def close(self) -> None:
        """Accept the connections in the kernel's queue, since closing would reset them, then close."""
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            await acceptor.close()
        if acceptors:
            await self._accept_waiting()
        self._remove_path()
        self.discard()

    def discard(self) -> None:
        """Close the sockets of a listener that was never opened."""
        for sock in self.sockets:
            sock.close()

    def _remove_path(self) -> None:
        """Remove the path of a Unix socket, unless it was inherited."""
        is_open = self.sockets[0].fileno() >= 0
        if is_open and isinstance(self.address, UnixAddress) and not self._inherited:
            with contextlib.suppress(OSError):
                Path(self.address.path).unlink()

    async def _accept_waiting(self) -> None:
        """Accept the connections that wait now, but no later ones: new clients must not delay the shutdown."""
        assert self._factory is not None
        loop = asyncio.get_running_loop()
        accepted: list[socket.socket] = []
        try:
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    for _ in range(_waiting(sock)):
                        accepted.append(sock.accept()[0])  # noqa: PERF401, one may fail
            while accepted:
                accepted[0].setblocking(False)
                await loop.connect_accepted_socket(self._factory, accepted.pop(0))
        finally:
            for sock in accepted:  # left over after an error or a cancellation
                sock.close()


def _waiting(sock: socket.socket) -> int:
    """Return the number of connections in the kernel's accept queue; where that is unknown, its limit."""
    if sys.platform == "linux" and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, struct.error):
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_WAITING + 4)
            waiting: int = struct.unpack_from("=I", info, TCP_INFO_WAITING)[0]
            return waiting
    return BACKLOG


class Entrance(NamedTuple):
    """How connections are taken: the arguments of `Listener.open`."""

    factory: Factory
    room: Callable[[int], bool] = always_room


class Listeners:
    """Several listeners as one. `address` is the first address that has a port, else the first address."""

    def __init__(
        self, addresses: Sequence[Address | UnixAddress], inherited: Sequence[socket.socket] = (), scheme: str = "http"
    ) -> None:
        """Bind `addresses`, or take over the sockets `inherited`, which listen already. Raises AddressError.

        `scheme` is what is spoken on all addresses with a port.
        """
        self._all: list[Listener] = []
        self._scheme = scheme
        try:
            for sock in inherited:
                inherited_by_clients(sock)
                self._add(Listener(_address_of(sock), sock))
            for address in () if inherited else addresses:
                self._add(Listener(address, taken=self._taken))
        except BaseException:
            for listener in self._all:
                listener.discard()
            raise
        self.address = next((one.address for one in self._all if one.address.port), self._all[0].address)

    def _add(self, listener: Listener) -> None:
        """Add a listener, unless it has no socket, e.g. localhost after all its addresses are taken."""
        if listener.sockets:
            self._all.append(listener)
            if isinstance(listener.address, Address):
                listener.address = dataclasses.replace(listener.address, scheme=self._scheme)

    @property
    def _taken(self) -> set[tuple[str, int]]:
        return set().union(*(listener.taken for listener in self._all))

    @property
    def described(self) -> str:
        """All addresses, for messages."""
        return " and ".join(listener.address.described for listener in self._all)

    async def open(self, plain: Entrance, tls: Entrance | None = None, short: Callable[[], None] = _ignore) -> None:
        """See Listener. Connections to addresses with a port go to `tls`, if given; Unix sockets are always `plain`."""
        for listener in self._all:
            entrance = tls if tls is not None and isinstance(listener.address, Address) else plain
            await listener.open(*entrance, short)

    async def close(self) -> None:
        """See Listener."""
        for listener in self._all:
            await listener.close()


def _address_of(sock: socket.socket) -> Address | UnixAddress:
    name = sock.getsockname()
    return Address(name[0], name[1]) if isinstance(name, tuple) else UnixAddress(str(name))
