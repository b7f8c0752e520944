"""A listener that closes: who waits at it is accepted, and it is closed however many keep coming."""

from __future__ import annotations

import asyncio
import socket

import pytest

from faucet.net.address import Address
from faucet.net.binding import BACKLOG
from faucet.net.listener import Listener, _waiting


class Endless:
    """A listening socket at which clients arrive faster than they can be accepted."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, str]:
        ours, theirs = socket.socketpair()
        self.ends.append(theirs)
        assert len(self.ends) < 1000
        return ours, ""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        for end in self.ends:
            end.close()


async def test_a_listener_is_closed_however_many_clients_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.net.listener.BACKLOG", 20)
    listener = Listener(Address("127.0.0.1", 0))
    made: list[object] = []
    await listener.open(lambda: made.append(1) or asyncio.Protocol())
    for sock in listener.sockets:
        sock.close()
    endless = Endless()
    listener.sockets[:] = [endless]  # type: ignore[list-item]
    async with asyncio.timeout(5):
        await listener.close()
    assert len(made) == len(endless.ends) == 20


async def test_what_waits_at_a_listener_that_closes_is_accepted() -> None:
    """Those that the kernel has accepted for us, as many as there are; in the same moment, so that none comes later."""
    listener = Listener(Address("127.0.0.1", 0))
    made: list[object] = []
    await listener.open(lambda: made.append(1) or asyncio.Protocol())
    assert isinstance(listener.address, Address)
    clients = [socket.create_connection(("127.0.0.1", listener.address.port)) for _ in range(30)]
    assert _waiting(listener.sockets[0]) in (30, BACKLOG)
    await listener.close()
    assert len(made) == 30
    for client in clients:
        client.close()
