"""Conversations: no connection without a deadline, whatever state it is in.

The stage looks at each connection after each event, in all conversations (tests/support/deadlines.py). Those here go to
the states that were once forgotten, and to any others by chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from tests.support.scripted import Peer, Stage
from tests.support.talk import GET, OK, OpenStage, post


@pytest.mark.parametrize("together", [True, False], ids=["in one packet", "while it is served"])
async def test_an_empty_line_behind_a_body_and_a_long_exchange(scripted: OpenStage, together: bool) -> None:
    """Its idle deadline has passed meanwhile; the empty line begins no request."""
    stage = await scripted(keep_alive=0.1)
    client = await stage.client()
    request = post(b"hello")
    await client.send(request + b"\r\n" if together else request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    if not together:
        await client.send(b"\r\n")
    async with asyncio.timeout(5):
        while len(stage.proxy.clients.idle):
            await asyncio.sleep(0.01)
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()


async def test_empty_lines_do_not_move_the_deadline_on(scripted: OpenStage) -> None:
    stage = await scripted(keep_alive=0.15)
    client = await stage.client()

    async def drip() -> None:
        for _ in range(4):
            await asyncio.sleep(0.06)
            await client.send(b"\r\n")

    dripping = asyncio.ensure_future(drip())
    await client.expect_gone()
    assert not dripping.done()
    dripping.cancel()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_drain_does_not_wait_for_an_empty_line(scripted: OpenStage, when: str) -> None:
    stage = await scripted(keep_alive=60)
    client = await stage.client()
    await client.send(GET + b"\r\n")
    worker = await stage.worker.connection()
    await worker.expect(GET)
    draining = None
    if when == "before":
        draining = asyncio.ensure_future(stage.proxy.drain(5))
        await asyncio.sleep(0.35)  # the moment in which idle connections are looked at
    await worker.send(OK)
    await client.expect(OK)
    assert await (draining or stage.proxy.drain(5))


async def test_a_drain_does_not_wait_for_a_slow_reader_that_has_read_all(scripted: OpenStage) -> None:
    stage = await scripted(keep_alive=60, client_timeout=0.2, buffer_response=64 << 10)
    client = await stage.client(receive_buffer=4096)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (8 << 20) + b"x" * (8 << 20)
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    sending = asyncio.ensure_future(worker.send(answer))
    await client.expect(answer[: 6 << 20])
    draining = asyncio.ensure_future(stage.proxy.drain(5))
    await client.expect(answer[6 << 20 :])
    await sending
    assert await draining


HALF = GET[:20]
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SAID = [
    GET, GET + b"\r\n", GET + GET, HALF, GET + HALF, post(b"hello"), post(b"hello") + b"\r\n", post(b"he", length=5),
    post(b"x" * 3000, length=9000), CHUNKS, CHUNKS + b"1\r\na\r\n" * 500, b"\r\n", b"GARBAGE\r\n\r\n",
    post(b"", b"Expect: 100-continue", length=5),
]  # fmt: skip
ANSWERED = [
    OK, OK, OK, OK[:20], OK[:-2], b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"bad\r\n\r\n",
]  # fmt: skip


class Chance:
    """Clients and workers that do this and that, and deadlines that pass in between."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.clients: list[Peer] = []

    async def step(self) -> None:
        """One thing happens."""
        choices = [self.come, self.say, self.say, self.say, self.answer, self.answer, self.pass_time, self.leave]
        await self.random.choice(choices)()
        for _ in range(4):
            await asyncio.sleep(0)

    async def come(self) -> None:
        self.clients.append(await self.stage.client(receive_buffer=self.random.choice([None, 4096])))

    async def say(self) -> None:
        if self.clients:
            self.random.choice(self.clients).writer.write(self.random.choice(SAID))
            await asyncio.sleep(0.001)

    async def answer(self) -> None:
        peers = [peer for worker in self.stage.workers for peer in worker.peers if not peer.writer.is_closing()]
        if peers:
            peer = self.random.choice(peers)
            peer.writer.write(self.random.choice(ANSWERED) + self.random.choice([b"", b"", b"x" * 2_000_000]))
            if self.random.random() < 0.3:
                peer.close()
        await asyncio.sleep(0.001)

    async def pass_time(self) -> None:
        """One of the deadlines passes, for one connection."""
        timeouts = self.random.choice(self.stage.proxy.clients.timeouts)
        for client in list(timeouts._touched)[:1]:
            timeouts.discard(client)
            timeouts._expired(client)

    async def leave(self) -> None:
        if self.clients and self.random.random() < 0.5:
            client = self.clients.pop(self.random.randrange(len(self.clients)))
            with contextlib.suppress(OSError):  # it was cut already
                self.random.choice([client.close, client.reset, client.end_sending])()


@pytest.mark.parametrize("seed", range(30))
async def test_any_states(scripted: OpenStage, seed: int) -> None:
    """The stage looks whether each connection has a deadline, and at its end whether all are gone."""
    stage = await scripted(2, buffer_request=2000, buffer_response=64 << 10)
    chance = Chance(stage, seed)
    for _ in range(60):
        await chance.step()
    if seed % 2:
        draining = asyncio.ensure_future(stage.proxy.drain(0.3))
        for _ in range(20):
            await chance.step()
        await draining
    stage.proxy.pool.fail("It is over.")  # clients that are not read meanwhile would not be seen to leave the queue
