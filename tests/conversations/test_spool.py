"""Long bodies and long answers go to files: no lock waits for a client, and nothing of them is lost or mixed up."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.scripted import Peer, Stage
from tests.support.talk import CHUNKED, GET, OK, OpenStage, lock_is_given_back, post

KIB, MIB = 1 << 10, 1 << 20


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def ok(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields]) + b"\r\n\r\n" + body


async def spooled(scripted: OpenStage, workers: int = 1, **settings: object) -> Stage:
    given = {"buffer_request": 100 * KIB, "buffer_response": 100 * KIB, "spool_limit": 64 * MIB, **settings}
    return await scripted(workers, **given)


def nothing_is_left(stage: Stage) -> bool:
    space = stage.proxy.clients.space
    return (space.used, space.files) == (0, 0)


async def until_nothing_is_left(stage: Stage) -> None:
    async with asyncio.timeout(5):
        while not nothing_is_left(stage):
            await asyncio.sleep(0.01)


async def test_a_long_body_is_here_before_a_worker_is_locked(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    client, other = await stage.client(), await stage.client()
    request = post(noise(3 * MIB))
    await client.send(request[:-1])
    await other.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await other.expect(OK)
    await stage.idle()
    await client.send(request[-1:])
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    assert nothing_is_left(stage)
    await lock_is_given_back(stage, worker)


async def test_a_long_body_is_sent_again_from_its_start(scripted: OpenStage) -> None:
    stage = await spooled(scripted, 2, retry="always")
    client = await stage.client()
    request = post(noise(MIB)).replace(b"POST", b"PUT")
    await client.send(request)
    first = await stage.worker.connection()
    await first.expect(request[: 300 * KIB])
    first.close()
    second = await stage.workers[1].connection()
    await second.expect(request)
    await second.send(OK)
    await client.expect(OK)


async def test_a_chunked_body_goes_through_a_file_as_it_is(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    client = await stage.client()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (noise(size * 1000) for size in range(1, 40)))
    request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    await client.send(request + GET)
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)


async def test_a_slow_worker_gets_a_long_body_as_fast_as_it_reads(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    client = await stage.client()
    request = post(noise(12 * MIB))
    await client.send(request)
    worker = await stage.worker.connection()
    await asyncio.sleep(0.1)
    connection = stage.worker.backend.connection
    assert connection is not None
    assert connection.transport.get_write_buffer_size() < MIB, "the rest stays in the file"
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)


async def test_an_answer_before_the_worker_has_read_it_all(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    client = await stage.client()
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    await client.send(post(noise(12 * MIB)))
    worker = await stage.worker.connection()
    await worker.send(refusal)
    await client.expect(refusal)
    await worker.expect_gone_at_last()
    await client.send(GET)
    fresh = await stage.worker.connection()
    await fresh.expect(GET)
    await fresh.send(OK)
    await client.expect(OK)
    assert nothing_is_left(stage)


async def test_a_client_that_leaves_while_its_body_is_sent(scripted: OpenStage) -> None:
    """The worker never has the whole request, and is told that no more will come."""
    stage = await spooled(scripted)
    client = await stage.client()
    await client.send(post(noise(12 * MIB)))
    worker = await stage.worker.connection()
    client.reset()
    await worker.expect_gone_at_last()
    worker.close()
    await stage.idle()
    assert nothing_is_left(stage)
    await lock_is_given_back(stage)


async def test_a_connection_whose_request_was_given_up_is_not_used_again(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    client = await stage.client()
    await client.send(post(noise(12 * MIB)))
    worker = await stage.worker.connection()
    client.reset()
    await worker.expect_gone_at_last()
    await worker.send(OK)
    await stage.idle()
    await lock_is_given_back(stage)


@pytest.mark.parametrize("size", [0, 200 * KIB, 3 * MIB])
async def test_without_room_in_the_files_a_long_body_is_streamed(scripted: OpenStage, size: int) -> None:
    """None at all; or some, which is sent first."""
    stage = await spooled(scripted, spool_limit=size)
    client = await stage.client()
    request = post(noise(5 * MIB))
    sending = asyncio.ensure_future(client.send(request))
    worker = await stage.worker.connection()
    await worker.expect(request)
    await sending
    await worker.send(OK)
    await client.expect(OK)
    assert nothing_is_left(stage)


async def read_slowly(client: Peer, answer: bytes) -> None:
    for at in range(0, len(answer), MIB):
        await client.expect(answer[at : at + MIB])
        await asyncio.sleep(0.002)


async def test_a_slow_reader_of_a_long_answer_holds_no_worker(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    slow = await stage.client(receive_buffer=4096)
    answer = ok(noise(20 * MIB))
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await lock_is_given_back(stage, worker)
    assert stage.proxy.clients.budget.used < MIB
    await read_slowly(slow, answer)
    await slow.send(GET)
    await worker.expect(GET)
    await worker.send(OK)
    await slow.expect(OK)
    await until_nothing_is_left(stage)


async def test_requests_sent_ahead_are_answered_in_order(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    slow = await stage.client(receive_buffer=4096)
    answer = ok(noise(12 * MIB))
    await slow.send(GET + GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await stage.idle()
    await worker.expect_quiet()
    await read_slowly(slow, answer)
    await worker.expect(GET)
    await worker.send(OK)
    await slow.expect(OK)


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_long_last_answer_is_read_to_its_end(scripted: OpenStage, half_closed: bool) -> None:
    stage = await spooled(scripted)
    slow = await stage.client(receive_buffer=4096)
    answer = ok(noise(12 * MIB), b"Connection: close")
    await slow.send(GET)
    if half_closed:
        slow.end_sending()
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    worker.close()
    await stage.idle()
    await read_slowly(slow, answer)
    await slow.expect_end()
    await until_nothing_is_left(stage)


async def test_an_answer_that_only_the_end_ends(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    slow = await stage.client(receive_buffer=4096)
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + noise(12 * MIB)
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.send(answer)
    worker.close()
    await stage.idle()
    await read_slowly(slow, answer)
    await slow.expect_end()


async def test_an_answer_that_breaks_off_looks_broken(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    slow = await stage.client(receive_buffer=4096)
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.send(CHUNKED + b"%x\r\n" % (30 * MIB) + noise(12 * MIB))
    worker.reset()
    await slow.expect_reset()
    await until_nothing_is_left(stage)


async def test_a_reader_that_stops_is_cut(scripted: OpenStage) -> None:
    stage = await spooled(scripted, client_timeout=0.2)
    slow = await stage.client(receive_buffer=4096)
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(ok(noise(12 * MIB)))
    await lock_is_given_back(stage, worker)
    await until_nothing_is_left(stage)
    assert len(stage.proxy.clients) == 1, "the other one"


@pytest.mark.parametrize("size", [0, 200 * KIB, 3 * MIB])
async def test_without_room_in_the_files_a_slow_reader_slows_its_worker(scripted: OpenStage, size: int) -> None:
    stage = await spooled(scripted, spool_limit=size)
    slow = await stage.client(receive_buffer=4096)
    answer = ok(noise(30 * MIB))
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    sending = asyncio.ensure_future(worker.send(answer))
    await asyncio.sleep(0.2)
    assert not sending.done()
    assert stage.proxy.pool.dispatcher.locked == 1
    await read_slowly(slow, answer)
    await sending
    await lock_is_given_back(stage, worker)
    await until_nothing_is_left(stage)


async def test_a_service_that_ends_waits_for_its_readers(scripted: OpenStage) -> None:
    stage = await spooled(scripted)
    slow = await stage.client(receive_buffer=4096)
    answer = ok(noise(12 * MIB))
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await stage.idle()
    draining = asyncio.ensure_future(stage.proxy.drain(5))
    await read_slowly(slow, answer)
    await slow.expect_end()
    assert await draining


@pytest.mark.parametrize("seed", range(12))
async def test_anything_at_once_arrives_whole(scripted: OpenStage, seed: int) -> None:
    """Bodies and answers of any size, fast and slow clients, with little room in memory and in files."""
    chance = random.Random(seed)
    room = chance.choice([300 * KIB, 2 * MIB, 64 * MIB])
    stage = await spooled(scripted, 2, spool_limit=room, buffer_total=chance.choice([128 * KIB, 4 * MIB]))

    async def serve(peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            body = await peer.reader.readexactly(length)
            await peer.send(ok(body[::-1] * chance.choice([0, 1, 3])))

    async def ask(size: int, pause: float) -> None:
        client = await stage.client(receive_buffer=chance.choice([None, 4096]))
        for _ in range(2):
            body = noise(size)
            sending = asyncio.ensure_future(client.send(post(body)))
            status, answer = await client.read_answer()
            assert status == 200
            assert answer.partition(b"\r\n\r\n")[2] in {body[::-1] * times for times in (0, 1, 3)}
            await sending
            await asyncio.sleep(pause)

    async def accept(number: int) -> None:
        while True:
            peers.append(asyncio.ensure_future(serve(await stage.workers[number].connection_whenever())))

    peers: list[asyncio.Future[None]] = []
    accepting = [asyncio.ensure_future(accept(number)) for number in range(2)]
    sizes = [chance.choice([0, 10, 90 * KIB, 200 * KIB, 900 * KIB]) for _ in range(12)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(ask(size, chance.random() * 0.02) for size in sizes))
    await stage.idle()
    await until_nothing_is_left(stage)
    for task in (*accepting, *peers):
        task.cancel()
    await asyncio.gather(*accepting, *peers, return_exceptions=True)
