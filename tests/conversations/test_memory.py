"""Conversations: the memory of all clients together, how many there may be, and how slow.

The stage looks at its end that every byte of the budget was given back, in all conversations.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from faucet import machine
from tests.support.scripted import Peer, ScriptedWorker, Stage
from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post

KIB, MIB = 1 << 10, 1 << 20
READ = 256 * KIB
"""Bytes that the loop reads at most at once."""


def answer(size: int) -> bytes:
    """A response of so many bytes."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


async def until_still(stage: Stage, *, spent: bool = False) -> int:
    """Wait until the budget does not change any more, nor before it is spent; what is used of it."""
    budget, before = stage.proxy.clients.budget, -1
    async with asyncio.timeout(20):
        while before != budget.used or (spent and not budget.spent):
            before = budget.used
            await asyncio.sleep(0.1)
    return before


async def test_answers_for_slow_readers_share_one_budget_and_arrive_whole(scripted: OpenStage) -> None:
    stage = await scripted(4, buffer_total=2 * MIB)
    clients = [await stage.client(receive_buffer=4096) for _ in range(4)]
    content = answer(6 * MIB)
    sending = []
    for client, worker in zip(clients, stage.workers, strict=True):
        await client.send(GET)
        peer = await worker.connection()
        await peer.expect(GET)
        sending.append(asyncio.ensure_future(peer.send(content)))
    async with asyncio.timeout(5):
        while len(stage.proxy.clients.budget.slowed) < 4:
            await asyncio.sleep(0.01)
    used = await until_still(stage)
    assert 2 * MIB <= used <= 2 * MIB + 4 * READ
    assert stage.proxy.pool.dispatcher.locked == 4
    await asyncio.gather(*(client.expect(content) for client in clients), *sending)
    await stage.idle()
    assert stage.proxy.clients.budget.used == 0


async def test_an_answer_has_its_own_bytes_though_the_budget_is_spent(scripted: OpenStage) -> None:
    """A client that reads is served, whatever others leave unread."""
    stage = await scripted(2, buffer_total=64 * KIB)
    slow, quick = await stage.client(receive_buffer=4096), await stage.client()
    await slow.send(GET)
    first = await stage.worker.connection()
    await first.expect(GET)
    sending = asyncio.ensure_future(first.send(answer(12 * MIB)))
    await until_still(stage, spent=True)
    for _ in range(3):
        await quick.send(GET)
        second = await stage.workers[1].connection() if not stage.workers[1].peers else stage.workers[1].peers[0]
        await second.expect(GET)
        large = asyncio.ensure_future(second.send(answer(3 * MIB)))
        await quick.expect(answer(3 * MIB))
        await large
    slow.reset()
    with contextlib.suppress(ConnectionError):
        await sending


async def test_bodies_wait_for_memory_in_their_order(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=300 * KIB, buffer_request=200 * KIB)
    body = b"x" * (150 * KIB)
    head = len(post(b"", length=len(body)))
    clients = [await stage.client() for _ in range(4)]
    for client in clients:
        await client.send(post(body)[: head + 100 * KIB])
        await until_still(stage)
    budget = stage.proxy.clients.budget
    assert (budget.used, len(budget.bodies)) == (300 * KIB, 2)
    waiting = [ours for ours in stage.proxy.clients if ours in stage.proxy.clients.memory]
    assert len(waiting) == 2
    for ours in waiting:
        assert not ours.transport.is_reading(), "what it sends stays with the kernel"
        assert ours not in stage.proxy.clients.bodies, "it is not its fault"
    for index, client in enumerate(clients):
        await client.send(post(body)[head + 100 * KIB :])
        peer = stage.worker.peers[0] if index else await stage.worker.connection()
        await peer.expect(post(body))
        await peer.send(OK)
        await client.expect(OK)
    assert budget.used == 0


async def test_a_small_body_needs_none_of_the_budget(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=64 * KIB)
    stage.proxy.clients.budget.charge(MIB)
    client = await stage.client()
    request = post(b"x" * 60_000)
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    stage.proxy.clients.budget.charge(-MIB)


async def test_a_streamed_body_under_its_lock_never_waits_for_the_budget(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=256 * KIB, buffer_request=128 * KIB)
    client = await stage.client()
    request = post(b"x" * (2 * MIB))
    await client.send(request[: 500 * KIB])
    worker = await stage.worker.connection()
    stage.proxy.clients.budget.charge(MIB)  # others have taken it all
    sending = asyncio.ensure_future(client.send(request[500 * KIB :]))
    await worker.expect(request)
    await worker.send(answer(MIB))
    await client.expect(answer(MIB))
    await sending
    stage.proxy.clients.budget.charge(-MIB)


async def test_a_body_that_waits_too_long_for_memory_gets_503(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=256 * KIB, queue_timeout=0.2)
    stage.proxy.clients.budget.charge(256 * KIB)
    client = await stage.client()
    await client.send(post(b"x" * (100 * KIB), length=200 * KIB))
    status, text = await client.read_answer()
    assert (status, b"No memory" in text) == (503, True)
    assert stage.proxy.stats.refusals == {"buffers_full": 1}
    assert len(stage.proxy.clients.budget.bodies) == 0
    stage.proxy.clients.budget.charge(-256 * KIB)


async def test_whoever_leaves_while_it_waits_for_memory_leaves_nothing(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=256 * KIB)
    stage.proxy.clients.budget.charge(256 * KIB)
    first, second = await stage.client(), await stage.client()
    for client in (first, second):
        await client.send(post(b"x" * (100 * KIB), length=200 * KIB))
        await until_still(stage)
    assert len(stage.proxy.clients.budget.bodies) == 2
    oldest = next(ours for ours in stage.proxy.clients.memory.oldest())
    oldest.transport.abort()
    await first.expect_gone()
    stage.proxy.clients.budget.charge(-256 * KIB)
    await second.send(b"x" * (100 * KIB))
    worker = await stage.worker.connection()
    await worker.expect(post(b"x" * (200 * KIB)))
    await worker.send(OK)
    await second.expect(OK)


class Storm:
    """Clients with long bodies and long answers, and workers that answer only when they have the whole body."""

    def __init__(self, stage: Stage, size: int) -> None:
        self.stage = stage
        self.request, self.answer = post(b"x" * size), answer(3 * size)

    async def serve(self, worker: ScriptedWorker) -> None:
        while True:
            peer = await worker.connection()
            with contextlib.suppress(AssertionError, ConnectionError):
                while True:
                    await peer.expect(self.request)
                    await peer.send(self.answer)

    async def ask(self, pause: float) -> None:
        client: Peer = await self.stage.client(receive_buffer=4096)
        for start in range(0, len(self.request), 30_000):
            await client.send(self.request[start : start + 30_000])
            await asyncio.sleep(pause)
        async with asyncio.timeout(30):
            assert await client.reader.readexactly(len(self.answer)) == self.answer


@pytest.mark.parametrize("total", [64 * KIB, 200 * KIB, 2 * MIB])
@pytest.mark.parametrize("streamed", [False, True])
async def test_with_any_budget_everything_comes_to_its_end(scripted: OpenStage, total: int, streamed: bool) -> None:
    """No deadlock: more bodies than fit, more answers than fit, all at once."""
    size = 120 * KIB
    stage = await scripted(2, buffer_total=total, buffer_request=70 * KIB if streamed else size)
    storm = Storm(stage, size)
    serving = [asyncio.ensure_future(storm.serve(worker)) for worker in stage.workers]
    await asyncio.gather(*(storm.ask(0.001 * (number % 4)) for number in range(20)))
    await stage.idle()
    for task in serving:
        task.cancel()
    assert stage.proxy.clients.budget.used == 0


async def test_a_reader_that_takes_a_few_bytes_now_and_then_is_cut(scripted: OpenStage) -> None:
    stage = await scripted(buffer_response=64 * KIB, client_timeout=0.3, min_rate=10_000_000)
    slow = await stage.client(receive_buffer=4096)
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    sending = asyncio.ensure_future(worker.send(answer(12 * MIB)))

    async def sip() -> None:
        while await slow.reader.read(5000):
            await asyncio.sleep(0.05)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(sip(), 5)
    await sending
    assert not stage.worker.hung
    await lock_is_given_back(stage, worker)


async def test_a_body_that_drips_gets_408_and_one_that_flows_does_not(scripted: OpenStage) -> None:
    """Each silence is short, so only the rate tells them apart; over the same time, in the same service."""
    stage = await scripted(client_timeout=0.3, min_rate=1000)
    dripping, flowing = await stage.client(), await stage.client()
    for client in (dripping, flowing):
        await client.send(post(b"", length=3000))

    async def drip(client: Peer, size: int) -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                await client.send(b"x" * size)
                await asyncio.sleep(0.05)

    drips = [asyncio.ensure_future(drip(dripping, 5)), asyncio.ensure_future(drip(flowing, 150))]
    status, text = await dripping.read_answer()
    assert (status, b"too slowly: less than 300 bytes in 0.3 s" in text) == (408, True)
    worker = await stage.worker.connection()
    await worker.expect(post(b"x" * 3000))
    await worker.send(OK)
    await flowing.expect(OK)
    for task in drips:
        task.cancel()


async def test_without_a_client_timeout_the_rate_still_counts(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.proxy.clients.RATE_SECONDS", 0.2)
    stage = await scripted(client_timeout=0, min_rate=1000)
    for begin in (GET[:10], post(b"x", length=5)):
        client = await stage.client()
        await client.send(begin)
        assert (await client.read_answer())[0] == 408
        await client.expect_end()


async def test_more_clients_than_may_be_are_told_so(scripted: OpenStage) -> None:
    stage = await scripted(max_clients=2)
    first, second = await stage.client(), await stage.client()
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await second.send(GET[:10])
    await asyncio.sleep(0.05)
    for _ in range(3):  # those that are being turned away are not counted
        third = await stage.client()
        status, text = await third.read_answer()
        assert (status, b"2 clients are connected" in text, b"\r\nRetry-After: 1\r\n" in text) == (503, True, True)
        await third.expect_end()
    assert stage.proxy.stats.refusals == {"max_clients": 3}
    second.close()
    async with asyncio.timeout(5):
        while len(stage.proxy.clients) - stage.proxy.clients.turned_away > 1:
            await asyncio.sleep(0.01)
    await worker.send(OK)
    await first.expect(OK)
    fourth = await stage.client()
    await fourth.send(GET)
    await worker.expect(GET)
    await worker.send(OK)
    await fourth.expect(OK)


async def test_the_client_that_was_idle_for_the_longest_time_makes_room(scripted: OpenStage) -> None:
    stage = await scripted(max_clients=3)
    busy, idle, later = [await stage.client() for _ in range(3)]
    await busy.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    newcomer = await stage.client()
    await idle.expect_end()
    await newcomer.send(GET)
    await later.expect_quiet()
    await worker.send(OK)
    await busy.expect(OK)
    await worker.expect(GET)
    await worker.send(OK)
    await newcomer.expect(OK)
    assert stage.proxy.stats.refusals == {}


def test_what_follows_from_the_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cgroup")
    nowhere = path / "nothing"
    machine_has = machine.memory(path, nowhere)
    assert machine_has > 64 * MIB
    (path / "memory.max").write_text("max\n")
    assert machine.memory(path, nowhere) == machine_has
    (path / "memory.max").write_text(f"{64 * MIB}\n")
    assert machine.memory(path, nowhere) == 64 * MIB
    unit = path / "system.slice" / "faucet.service"
    unit.mkdir(parents=True)
    (unit / "memory.max").write_text("max\n")
    (unit.parent / "memory.max").write_text(f"{48 * MIB}\n")
    (path / "own").write_text("1:name=systemd:/x\n0::/system.slice/faucet.service\n")
    assert machine.memory(path, path / "own") == 48 * MIB
    assert [machine.buffer_total(size * MIB) for size in (1, 512, 8192, 1 << 20)] == [
        16 * MIB, 32 * MIB, 512 * MIB, 1024 * MIB,
    ]  # fmt: skip
    assert 1 <= machine.max_clients() <= 16_384
