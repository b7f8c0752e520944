"""Conversations: slow clients.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post


async def test_a_slow_body_holds_no_worker(scripted: OpenStage) -> None:
    stage = await scripted()
    slow, quick = await stage.client(), await stage.client()
    request = post(b"hello")
    await slow.send(request[:-1])
    await quick.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await quick.expect(OK)
    await slow.send(request[-1:])
    await worker.expect(request)
    await worker.send(OK)
    await slow.expect(OK)


async def test_a_slow_reader_holds_no_worker(scripted: OpenStage) -> None:
    stage = await scripted(buffer_response=8 << 20)
    slow, quick = await stage.client(receive_buffer=4096), await stage.client()
    body = b"x" * (4 << 20)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await quick.send(GET)
    await worker.expect(GET)
    await worker.send(OK)
    await quick.expect(OK)
    await slow.expect(answer)


async def test_beyond_the_buffer_a_slow_reader_slows_its_worker(scripted: OpenStage) -> None:
    stage = await scripted(buffer_response=64 << 10)
    slow = await stage.client(receive_buffer=4096)
    body = b"x" * (32 << 20)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    await slow.send(GET)
    worker = await stage.worker.connection()
    sending = asyncio.ensure_future(worker.send(answer))
    await asyncio.sleep(0.2)
    assert not sending.done()
    assert stage.proxy.pool.dispatcher.locked == 1
    client = next(client for client in stage.proxy.clients if client.exchange)
    assert client.transport.get_write_buffer_size() < 1 << 20
    await slow.expect(answer)
    await sending


async def test_answers_nobody_reads_do_not_pile_up(scripted: OpenStage) -> None:
    stage = await scripted(buffer_response=64 << 10)
    slow = await stage.client(receive_buffer=4096)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    await slow.send(GET * 1000)
    worker = await stage.worker.connection()

    async def serve() -> None:
        while True:
            await worker.expect(GET)
            await worker.send(answer)

    serving = asyncio.ensure_future(serve())
    await asyncio.sleep(0.5)
    client = next(iter(stage.proxy.clients))
    assert client.transport.get_write_buffer_size() < 200_000
    assert len(stage.records) < 200
    for _ in range(1000):
        await slow.expect(answer)
    serving.cancel()


@pytest.mark.parametrize("more", [b"\r\n", GET])
@pytest.mark.parametrize("length", [b"Connection: close\r\nContent-Length: 6000000\r\n", b""])
async def test_an_answer_before_a_close_is_read_to_its_end(scripted: OpenStage, more: bytes, length: bytes) -> None:
    """Though the client sends more meanwhile, which nobody will read, and takes its time."""
    stage = await scripted()
    client = await stage.client(receive_buffer=4096)
    answer = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + b"x" * 6_000_000
    await client.send(GET + more)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    worker.close()
    await client.expect(answer[:100_000])
    await client.send(b"more")
    await asyncio.sleep(1.3)
    await client.expect(answer[100_000:])
    await client.expect_gone()


async def test_a_reader_that_stops_is_cut_and_its_worker_heard_out(scripted: OpenStage) -> None:
    stage = await scripted(buffer_response=64 << 10, client_timeout=0.2)
    slow = await stage.client(receive_buffer=4096)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 << 20) + b"x" * (32 << 20)
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await stage.outcome()
    assert not stage.worker.hung
    await lock_is_given_back(stage, worker)


async def test_a_slow_reader_is_to_blame_for_a_request_timeout_not_its_worker(scripted: OpenStage) -> None:
    stage = await scripted(buffer_response=64 << 10, request_timeout=1.5)  # the worker has time to send all of it
    slow = await stage.client(receive_buffer=4096)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 << 20) + b"x" * (32 << 20)
    await slow.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await stage.outcome()
    assert not stage.worker.hung
    await lock_is_given_back(stage, worker)


@pytest.mark.parametrize(
    "begin", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\n", post(b"", length=5), post(b"hell", length=5)]
)
async def test_408(scripted: OpenStage, begin: bytes) -> None:
    stage = await scripted(client_timeout=0.1)
    client = await stage.client()
    await client.send(begin)
    assert (await client.read_answer())[0] == 408
    await client.expect_end()
    await stage.worker.expect_no_connection()


async def test_a_head_has_one_deadline_however_it_drips(scripted: OpenStage) -> None:
    stage = await scripted(client_timeout=0.2)
    client = await stage.client()

    async def drip() -> None:
        for octet in GET * 100:
            await client.send(bytes([octet]))
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    assert (await client.read_answer())[0] == 408
    dripping.cancel()


@pytest.mark.plain_only("a PROXY header comes before TLS, with the deadline of the handshake")
async def test_a_proxy_header_has_one_deadline_however_it_drips(scripted: OpenStage) -> None:
    stage = await scripted(client_timeout=0.2, proxy_protocol=True)
    client = await stage.client()

    async def drip() -> None:
        for octet in (b"PROXY UNKNOWN" + b" of nobody that we know" * 4)[:100]:  # not yet too long
            await client.send(bytes([octet]))
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    await client.expect_gone()
    assert not dripping.done()
    dripping.cancel()
    honest = await stage.client()
    await honest.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await honest.expect(OK)
    assert (await stage.outcome()).client == "192.0.2.1"


async def test_idle_connections_are_closed_without_a_word(scripted: OpenStage) -> None:
    stage = await scripted(keep_alive=0.1)
    fresh, used = await stage.client(), await stage.client()
    await used.send(GET)
    worker = await stage.worker.connection()
    await worker.send(OK)
    await used.expect(OK)
    await fresh.expect_end()
    await used.expect_end()
    assert len(stage.records) == 1


async def test_a_refused_client_may_go_on_sending_and_still_reads_its_answer(scripted: OpenStage) -> None:
    stage = await scripted(max_body=10)
    client = await stage.client()
    await client.send(post(b"x" * 100_000))
    assert (await client.read_answer())[0] == 413
    await client.send(b"x" * 50_000)
    await client.expect_end()


async def test_after_a_refusal_nothing_more_is_processed(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
    assert (await client.read_answer())[0] == 400
    await client.send(GET)
    await client.expect_end()
    await stage.worker.expect_no_connection()


async def test_a_close_delimited_answer_that_is_cut_while_closing_looks_cut(scripted: OpenStage) -> None:
    """The client has half-closed and does not read: a clean end would make a part of the answer look like all."""
    stage = await scripted(client_timeout=0.2)
    client = await stage.client(receive_buffer=4096)
    await client.send(GET)
    client.end_sending()
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 7_000_000)
    worker.close()
    async with asyncio.timeout(5):
        while stage.proxy.clients:
            await asyncio.sleep(0.02)
    await client.expect_reset()


async def test_a_closing_connection_that_is_read_a_little_keeps_its_deadline(scripted: OpenStage) -> None:
    """Its buffer sinks below the mark, but not to nothing; then it is silent."""
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    await stage.worker.connection()
    ours = next(iter(stage.proxy.clients))
    ours.pause_writing()
    ours.linger()
    stage.proxy.clients.lingering.discard(ours)
    ours.resume_writing()
    assert len(stage.proxy.clients.readers) == 1
    ours.transport.close()
    ours.pause_writing()
    ours.resume_writing()
    assert len(stage.proxy.clients.readers) == 1


async def test_a_steady_reader_is_not_taken_for_one_that_stopped(scripted: OpenStage) -> None:
    """Megabytes wait in the kernel, so our own buffer does not shrink for longer than its patience."""
    stage = await scripted(client_timeout=0.5, buffer_response=64 << 10)
    client = await stage.client(receive_buffer=64 << 10)
    length = 12_000_000
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    sending = asyncio.ensure_future(
        worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length)
    )
    await client.read_head()
    for _ in range(30):
        await client.expect(b"x" * 50_000)
        await asyncio.sleep(0.08)
    await client.expect(b"x" * (length - 30 * 50_000))
    await sending
