"""The listening socket, and its careful end: what the kernel has accepted for us is ours to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faucet.net.address import BACKLOG, Address, bind, bound_address, listen


class Listener:
    """Bound at once, so that an address in use is known before anything is started; listening from `open` on."""

    def __init__(self, address: Address) -> None:
        """Raises AddressError."""
        self._socket = bind(address)
        self.address = bound_address(self._socket, address)
        self._server: asyncio.Server | None = None
        self._factory: Callable[[], asyncio.Protocol] | None = None

    async def open(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections from now on. Raises AddressError."""
        listen(self._socket, self.address)
        self._factory = factory
        loop = asyncio.get_running_loop()
        # The loop closes the socket it is given, on its own terms; `close` still needs one.
        self._server = await loop.create_server(factory, sock=self._socket.dup(), backlog=BACKLOG)

    async def close(self) -> None:
        """Stop accepting, after accepting what already waits: closing would reset those connections."""
        if self._server is not None:
            self._server.close()
            await self._accept_waiting()
        self._socket.close()

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
