"""Conversations: what the record of an exchange tells afterwards, where it is not just a relayed response."""

from __future__ import annotations

import asyncio

import pytest

from faucet.http1.forwarded import Trust
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
    stage.proxy.pool.remove(stage.workers[0].backend)
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


SPOOFED = GET.replace(
    b"\r\n\r\n",
    b"\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: https\r\nFaucet_Request_Uuid: 6\r\nA_B: 1\r\n\r\n",
)
"""With fields that httpuv takes for ours, and would prefer to them."""


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"forwarded": True}, b"Faucet_Request_Uuid: 6\r\nA_B: 1\r\n"),
        ({"request_id": True}, b"X_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: https\r\nA_B: 1\r\n"),
        ({"forwarded": True, "request_id": True}, b"A_B: 1\r\n"),
    ],
)
async def test_fields_that_could_be_taken_for_ours_are_left_out(
    scripted: OpenStage, options: dict[str, bool], kept: bytes
) -> None:
    stage = await scripted(**options)
    client = await stage.client()
    await client.send(SPOOFED)
    worker = await stage.worker.connection()
    await worker.expect(GET[:-2] + kept)
    head = await worker.read_head()
    assert (b"X-Forwarded-For: 127.0.0.1\r\n" in head) is options.get("forwarded", False)
    assert (b"X-Forwarded-Proto: %b\r\n" % stage.scheme in head) is options.get("forwarded", False)
    assert (b"Faucet-Request-Uuid: " in head) is options.get("request_id", False)
    await worker.send(OK)
    await client.expect(OK)


async def test_the_clients_own_request_id_stays_and_its_lookalike_does_not(scripted: OpenStage) -> None:
    """Else the log had one and R another."""
    stage = await scripted(request_id=True)
    client = await stage.client()
    request = SPOOFED.replace(b"A_B: 1", b"Faucet-Request-Uuid: mine")
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request.replace(b"Faucet_Request_Uuid: 6\r\n", b""))
    await worker.send(OK)
    await client.expect(OK)
    assert (await stage.outcome()).request_id == "mine"


async def test_a_trusted_proxys_protocol_is_not_overruled_by_a_lookalike(scripted: OpenStage) -> None:
    stage = await scripted(forwarded=True, trust=Trust("127.0.0.1"))
    client = await stage.client()
    await client.send(SPOOFED.replace(b"A_B: 1", b"X-Forwarded-Proto: ftp"))
    worker = await stage.worker.connection()
    head = await worker.read_head()
    assert b"x-forwarded_proto" not in head
    assert b"X-Forwarded-Proto: ftp\r\n" in head
    assert b"X-Forwarded-Proto: %b\r\n" % stage.scheme not in head


async def test_without_options_such_fields_are_none_of_our_business(scripted: OpenStage) -> None:
    stage = await scripted(ip_from="x-forwarded-for", trust=Trust("127.0.0.1"))
    client = await stage.client()
    await client.send(SPOOFED)
    worker = await stage.worker.connection()
    await worker.expect(SPOOFED)
    await worker.send(OK)
    await client.expect(OK)
    assert (await stage.outcome()).client == "127.0.0.1"
