"""Conversations: streamed bodies.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio

from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post


async def test_a_long_body_is_streamed_under_the_lock(scripted: OpenStage) -> None:
    stage = await scripted(buffer_request=1000)
    client = await stage.client()
    request = post(b"x" * 300_000)
    await client.send(request[:500])
    await stage.worker.expect_no_connection()
    await client.send(request[500:2000])
    worker = await stage.worker.connection()
    await worker.expect(request[:2000])
    await client.send(request[2000:])
    await worker.expect(request[2000:])
    await worker.send(OK)
    await client.expect(OK)
    await lock_is_given_back(stage, worker)


async def test_a_slow_worker_slows_the_client(scripted: OpenStage) -> None:
    stage = await scripted(buffer_request=1000)
    client = await stage.client()
    request = post(b"x" * (64 << 20))
    sending = asyncio.ensure_future(client.send(request))
    worker = await stage.worker.connection()
    await asyncio.sleep(0.2)
    assert not sending.done()
    connection = stage.worker.backend.connection
    assert connection is not None
    assert connection.transport.get_write_buffer_size() < 1 << 20
    await worker.expect(request)
    await sending
    await worker.send(OK)
    await client.expect(OK)


async def test_an_early_answer_is_relayed_and_both_connections_end(scripted: OpenStage) -> None:
    stage = await scripted(buffer_request=1000)
    client = await stage.client()
    await client.send(post(b"x" * 2000, length=100_000))
    worker = await stage.worker.connection()
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()
    assert (await stage.outcome()).status == 200
    await lock_is_given_back(stage)


async def test_a_client_that_leaves_within_a_streamed_body(scripted: OpenStage) -> None:
    """The worker is told that no more comes, and keeps its lock until it has dealt with that."""
    stage = await scripted(buffer_request=1000)
    client = await stage.client()
    request = post(b"x" * 2000, length=100_000)
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    client.close()
    await worker.expect_end()
    assert stage.proxy.pool.dispatcher.locked == 1
    worker.close()
    assert (await stage.outcome()).status == 499
    await lock_is_given_back(stage)


async def test_a_bad_chunk_within_a_streamed_body(scripted: OpenStage) -> None:
    stage = await scripted(buffer_request=1000)
    client = await stage.client()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"7d0\r\n" + b"x" * 2000 + b"\r\n"
    await client.send(head + chunk)
    worker = await stage.worker.connection()
    await worker.expect(head + chunk)
    await client.send(b"bad\n")
    assert (await client.read_answer())[0] == 400
    await client.expect_end()
    await worker.expect_end()
    worker.close()
    await lock_is_given_back(stage)


async def test_silence_within_a_streamed_body(scripted: OpenStage) -> None:
    stage = await scripted(buffer_request=1000, client_timeout=0.1)
    client = await stage.client()
    await client.send(post(b"x" * 2000, length=100_000))
    worker = await stage.worker.connection()
    assert (await client.read_answer())[0] == 408
    await worker.expect(post(b"x" * 2000, length=100_000))
    await worker.expect_end()
    worker.close()
    await lock_is_given_back(stage)


async def test_a_body_in_tiny_chunks_arrives_whole_and_in_order(scripted: OpenStage) -> None:
    """More chunks than are looked at in one turn; buffered, and streamed past the buffer."""
    for limit in (1 << 20, 2000):
        stage = await scripted(buffer_request=limit)
        client = await stage.client()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = head + b"".join(b"1\r\n%c\r\n" % (97 + number % 26) for number in range(20_000)) + b"0\r\n\r\n"
        sending = asyncio.ensure_future(client.send(request + GET))
        worker = await stage.worker.connection()
        await worker.expect(request)
        await worker.send(OK)
        await client.expect(OK)
        await worker.expect(GET)
        await worker.send(OK)
        await client.expect(OK)
        await sending


async def test_no_408_while_a_streamed_body_waits_for_a_worker(scripted: OpenStage) -> None:
    """In tiny chunks, so that the rest of one read comes in later turns, when the request is in the queue already."""
    stage = await scripted(buffer_request=1000, client_timeout=0.15)
    first, slow = await stage.client(), await stage.client()
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + b"1\r\na\r\n" * 5000
    await slow.send(request)
    await asyncio.sleep(0.5)
    await slow.expect_quiet()
    assert stage.proxy.pool.dispatcher.waiting == 1
    await worker.send(OK)
    await first.expect(OK)
    await worker.expect(request)
    await slow.send(b"0\r\n\r\n")
    await worker.expect(b"0\r\n\r\n")
    await worker.send(OK)
    await slow.expect(OK)
