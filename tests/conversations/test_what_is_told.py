"""Conversations: what the record of an exchange tells afterwards, where it is not just a relayed response."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.talk import GET, OK, OpenStage, post


@pytest.mark.parametrize(
    ("request_", "status", "received"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, 18),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n", 400, None),
        (post(b"", length=200), 413, len(post(b"", length=200))),
    ],
)
async def test_a_refusal_has_its_sizes(scripted: OpenStage, request_: bytes, status: int, received: int | None) -> None:
    stage = await scripted(max_body=100)
    client = await stage.client()
    await client.send(request_)
    assert (await client.read_answer())[0] == status
    record = await stage.outcome()
    assert record.status == status
    assert record.sent > 200, "the answer's size"
    assert record.received == (len(request_) if received is None else received)
    assert record.waited == record.service == 0


async def test_half_a_head_that_was_too_slow_has_its_size(scripted: OpenStage) -> None:
    stage = await scripted(client_timeout=0.1)
    client = await stage.client()
    await client.send(GET[:10])
    assert (await client.read_answer())[0] == 408
    record = await stage.outcome()
    assert (record.status, record.received) == (408, 10)


async def test_a_request_that_waited_in_vain_has_its_wait(scripted: OpenStage) -> None:
    stage = await scripted(queue_timeout=0.4)
    first, second = await stage.client(), await stage.client()
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await second.send(GET)
    assert (await second.read_answer())[0] == 503
    record = await stage.outcome()
    assert record.waited >= 0.4
    assert record.service == 0
    await worker.send(OK)
    await first.expect(OK)
    record = await stage.outcome(2)
    assert record.service >= 0.4
    assert record.waited < 0.3


async def test_a_request_sent_again_says_so_and_by_whom_it_was_failed(scripted: OpenStage) -> None:
    stage = await scripted(2, retry="always")
    client = await stage.client()
    await client.send(GET)
    worker = await stage.workers[0].connection()
    await worker.expect(GET)
    await asyncio.sleep(0.4)
    stage.proxy.remove(stage.workers[0].backend)
    worker.close()
    other = await stage.workers[1].connection()
    await other.expect(GET)
    await other.send(OK)
    await client.expect(OK)
    record = await stage.outcome()
    assert (record.status, record.worker) == (200, "2")
    assert record.note == "sent again, since worker 1 ended the connection"
    assert record.waited < 0.3, "the time in the first worker is no time in the queue"
    assert record.service < 0.3


async def test_a_worker_that_accepts_no_connection_is_named(scripted: OpenStage) -> None:
    stage = await scripted(2)
    stage.workers[0].stop_listening()
    client = await stage.client()
    await client.send(GET)
    other = await stage.workers[1].connection()
    await other.send(OK)
    await client.expect(OK)
    assert (await stage.outcome()).note == "worker 1 accepted no connection"


async def test_an_answer_to_a_client_that_had_ended_its_sending_side_is_doubtful(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    client.end_sending()
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)
    record = await stage.outcome()
    assert (record.status, record.note) == (
        200,
        "the client had ended its sending side, and may not have read this",
    )
