"""Accepting: as many as there is room for, in turns, and what a lack of descriptors does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from faucet.net import acceptor
from faucet.net.acceptor import Acceptor
from faucet.net.descriptors import Descriptors


class Told(asyncio.Protocol):
    """Puts its transport into a list."""

    def __init__(self, made: list[asyncio.BaseTransport]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(transport)


class Scene:
    """A listening socket, an acceptor, and clients that connect to it."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.accepted: list[asyncio.BaseTransport] = []
        self.room = 1000
        self.shortages = 0
        self.asked: list[int] = []
        self.clients: list[socket.socket] = []
        self.acceptor = Acceptor(self.sock, lambda: Told(self.accepted), self._has_room, self._short)

    def _has_room(self, opening: int) -> bool:
        self.asked.append(opening)
        return len(self.accepted) + opening < self.room

    def _short(self) -> None:
        self.shortages += 1

    def connect(self, count: int) -> None:
        self.clients += [socket.create_connection(self.sock.getsockname()) for _ in range(count)]

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not met():
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.acceptor.close()
        self.sock.close()
        for client in self.clients:
            client.close()
        for transport in self.accepted:
            transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.close()


async def test_no_more_are_accepted_than_there_is_room_for(scene: Scene) -> None:
    scene.room = 5
    scene.connect(20)
    await scene.until(lambda: len(scene.accepted) == 5)
    await asyncio.sleep(3 * acceptor.PAUSE)
    assert len(scene.accepted) == 5
    assert max(scene.asked) == 5, "those are counted that have no protocol yet"
    scene.room = 12
    await scene.until(lambda: len(scene.accepted) == 12)
    scene.room = 100
    await scene.until(lambda: len(scene.accepted) == 20)


async def test_a_burst_does_not_keep_others_from_their_turn(scene: Scene) -> None:
    scene.connect(acceptor.ACCEPTED_PER_TURN + 10)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert max(scene.asked) <= acceptor.ACCEPTED_PER_TURN
    await scene.until(lambda: len(scene.accepted) == acceptor.ACCEPTED_PER_TURN + 10)


async def test_a_pause_costs_little(scene: Scene) -> None:
    scene.room = 0
    scene.connect(1)
    await scene.until(lambda: bool(scene.asked))
    before = len(scene.asked)
    await asyncio.sleep(10 * acceptor.PAUSE)
    assert len(scene.asked) - before <= 11


async def test_without_a_descriptor_it_says_so_and_goes_on_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        """The listening socket, while there is no descriptor left."""

        def __init__(self) -> None:
            self.left = 2

        def accept(self) -> tuple[socket.socket, object]:
            self.left -= 1
            if self.left < 0:
                return real.accept()
            raise OSError(errno.EMFILE, "Too many open files")

    real = scene.sock
    monkeypatch.setattr(scene.acceptor, "_sock", Short())
    scene.connect(3)
    await scene.until(lambda: len(scene.accepted) == 3)
    assert scene.shortages == 2


async def test_after_the_close_nothing_is_accepted_and_the_socket_is_still_there(scene: Scene) -> None:
    scene.room = 0
    scene.connect(1)
    await scene.until(lambda: bool(scene.asked))
    await scene.acceptor.close()
    scene.room = 10
    await asyncio.sleep(3 * acceptor.PAUSE)
    assert scene.accepted == []
    with contextlib.closing(scene.sock.accept()[0]):
        pass


def test_what_is_kept_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 descriptors with 20 in use for other things: 12 are kept, 6 are for those that come meanwhile."""
    monkeypatch.setattr("faucet.net.descriptors.resource.getrlimit", lambda _: (100, 100))
    monkeypatch.setattr("faucet.net.descriptors.COUNT_SECONDS", -1.0)
    descriptors = Descriptors()

    def judged(clients: int) -> tuple[bool, bool]:
        monkeypatch.setattr("faucet.net.descriptors._in_use", lambda _: 20 + clients)
        return descriptors.too_many(clients), descriptors.has_room(clients)

    limits = [judged(clients) for clients in range(90)]
    assert limits.index((True, True)) == 63
    assert limits.index((True, False)) == 68
    assert set(limits[68:]) == {(True, False)}


def test_the_descriptors_of_a_worker_that_has_exited_are_left_for_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("faucet.net.descriptors.resource.getrlimit", lambda _: (100, 100))
    monkeypatch.setattr("faucet.net.descriptors.COUNT_SECONDS", -1.0)
    descriptors = Descriptors()

    def room(others: int) -> int:
        return next(clients for clients in range(100) if not has_room(others, clients))

    def has_room(others: int, clients: int) -> bool:
        monkeypatch.setattr("faucet.net.descriptors._in_use", lambda _: others + clients)
        return descriptors.has_room(clients)

    assert room(20) == 68
    assert room(30) == 58
    assert room(10) == 58, "ten are for those that come back"
    monkeypatch.setattr("faucet.net.descriptors.PERIOD_SECONDS", -1.0)
    assert room(10) >= 68, "after a while nobody waits for them"
