"""The listening sockets, and their careful end: what the kernel has accepted for us is ours to answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from faucet.net.address import (
    BACKLOG,
    Address,
    UnixAddress,
    bind,
    bound_address,
    listen,
    notice_the_vanished,
    parse_listen,
)

Factory = Callable[[], asyncio.Protocol]


class Listener:
    """Bound at once, so that an address in use is known before anything is started; listening from `open` on."""

    def __init__(self, address: Address | UnixAddress, inherited: socket.socket | None = None) -> None:
        """`inherited`: a socket that listens on it already. Raises AddressError."""
        self._socket = bind(address) if inherited is None else inherited
        self._inherited = inherited is not None
        self.address = bound_address(self._socket, address)
        self._server: asyncio.Server | None = None
        self._factory: Factory | None = None

    async def open(self, factory: Factory) -> None:
        """Accept connections from now on. Raises AddressError."""
        if not self._inherited:
            listen(self._socket, self.address)
        self._factory = factory
        loop = asyncio.get_running_loop()
        # The loop closes the socket it is given, on its own terms; `close` still needs one.
        own = self._socket.dup()
        if own.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(factory, sock=own, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(factory, sock=own, backlog=BACKLOG)

    async def close(self) -> None:
        """Stop accepting, after accepting what already waits: closing would reset those connections."""
        if self._server is not None:
            self._server.close()
            await self._accept_waiting()
        self._remove_path()
        self._socket.close()

    def _remove_path(self) -> None:
        """A Unix socket leaves its name behind; one that was given to us is its giver's."""
        if self._socket.fileno() >= 0 and isinstance(self.address, UnixAddress) and not self._inherited:
            with contextlib.suppress(OSError):
                Path(self.address.path).unlink()

    async def _accept_waiting(self) -> None:
        assert self._factory is not None
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            accepted.setblocking(False)
            await loop.connect_accepted_socket(self._factory, accepted)


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
                self._all.append(Listener(parse_listen(text)))
        except BaseException:
            for listener in self._all:
                listener._socket.close()
            raise
        self.address = next((one.address for one in self._all if one.address.port), self._all[0].address)

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
