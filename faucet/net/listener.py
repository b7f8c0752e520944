"""The listening sockets, and their careful end: what the kernel has accepted for us is ours to answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from faucet.net.address import Address, UnixAddress, parse_listen
from faucet.net.binding import BACKLOG, bind, bound_address, listen, notice_the_vanished

TCP_INFO_WAITING = 24
"""Offset in Linux' struct tcp_info, in bytes: connections to be accepted from a listening socket (`tcpi_unacked`)."""

Factory = Callable[[], asyncio.Protocol]


class Listener:
    """Bound at once, so that an address in use is known before anything is started; listening from `open` on.

    There are several sockets if the address is a name that has several addresses.
    """

    def __init__(
        self,
        address: Address | UnixAddress,
        inherited: socket.socket | None = None,
        taken: Collection[tuple[str, int]] = (),
    ) -> None:
        """`inherited`: a socket that listens on it already; `taken`: what others listen on. Raises AddressError."""
        self.sockets = bind(address, taken) if inherited is None else [inherited]
        self._inherited = inherited is not None
        self.address = bound_address(self.sockets, address)
        self._servers: list[asyncio.Server] = []
        self._factory: Factory | None = None

    @property
    def taken(self) -> set[tuple[str, int]]:
        """The numeric addresses and ports that it has."""
        names = [sock.getsockname() for sock in self.sockets]
        return {(name[0], name[1]) for name in names if isinstance(name, tuple)}

    async def open(self, factory: Factory) -> None:
        """Accept connections from now on. Raises AddressError."""
        for sock in () if self._inherited else self.sockets:
            listen(sock, self.address)
        self._factory = factory
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            # The loop closes the socket it is given, on its own terms; `close` still needs one.
            own = sock.dup()
            if own.family == socket.AF_UNIX:
                self._servers.append(await loop.create_unix_server(factory, sock=own, backlog=BACKLOG))
            else:
                self._servers.append(await loop.create_server(factory, sock=own, backlog=BACKLOG))

    async def close(self) -> None:
        """Stop accepting, after accepting what already waits: closing would reset those connections."""
        for server in self._servers:
            server.close()
        if self._servers:
            await self._accept_waiting()
        self._remove_path()
        self.discard()

    def discard(self) -> None:
        """Close the sockets of a listener that was never opened."""
        for sock in self.sockets:
            sock.close()

    def _remove_path(self) -> None:
        """A Unix socket leaves its name behind; one that was given to us is its giver's."""
        is_open = self.sockets[0].fileno() >= 0
        if is_open and isinstance(self.address, UnixAddress) and not self._inherited:
            with contextlib.suppress(OSError):
                Path(self.address.path).unlink()

    async def _accept_waiting(self) -> None:
        """Accept as many as wait now. Clients that keep coming must not keep us from the end."""
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
            for sock in accepted:  # there was no time for them
                sock.close()


def _waiting(sock: socket.socket) -> int:
    """Connections that the kernel keeps for us; or how many it may keep, where it does not tell."""
    if sys.platform == "linux" and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, struct.error):
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_WAITING + 4)
            waiting: int = struct.unpack_from("=I", info, TCP_INFO_WAITING)[0]
            return waiting
    return BACKLOG


class Listeners:
    """Several at once. The first one's address stands for all, where one has to."""

    def __init__(self, addresses: Sequence[str], inherited: Sequence[socket.socket] = ()) -> None:
        """On `addresses`, or where the sockets `inherited` listen already. Raises AddressError."""
        self._all: list[Listener] = []
        try:
            for sock in inherited:
                notice_the_vanished(sock)
                self._all.append(Listener(_address_of(sock), sock))
            for text in () if inherited else addresses:
                self._add(Listener(parse_listen(text), taken=self._taken))
        except BaseException:
            for listener in self._all:
                listener.discard()
            raise
        self.address = next((one.address for one in self._all if one.address.port), self._all[0].address)

    def _add(self, listener: Listener) -> None:
        """One that has nothing of its own is no more than another name: localhost beside 127.0.0.1, say."""
        if listener.sockets:
            self._all.append(listener)

    @property
    def _taken(self) -> set[tuple[str, int]]:
        return set().union(*(listener.taken for listener in self._all))

    @property
    def described(self) -> str:
        """All addresses."""
        return " and ".join(listener.address.described for listener in self._all)

    async def open(self, factory: Factory) -> None:
        """See Listener."""
        for listener in self._all:
            await listener.open(factory)

    async def close(self) -> None:
        """See Listener."""
        for listener in self._all:
            await listener.close()


def _address_of(sock: socket.socket) -> Address | UnixAddress:
    name = sock.getsockname()
    return Address(name[0], name[1]) if isinstance(name, tuple) else UnixAddress(str(name))
