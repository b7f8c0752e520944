"""Conversations: the ordinary course.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.scripted import Peer
from tests.support.talk import CHUNKED, GET, OK, OpenStage, lock_is_given_back


async def test_connections_are_kept_on_both_sides(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    for _ in range(3):
        await worker.expect(GET)
        await worker.send(OK)
        await client.expect(OK)
        await client.send(GET)
    record = await stage.outcome(3)
    assert (record.status, record.worker, record.sent, record.received) == (200, "1", len(OK), len(GET))


async def test_a_higher_minor_version_is_handled_as_1_1_and_left_as_it_is(scripted: OpenStage) -> None:
    """RFC 9110, 2.5, both ways: connections are kept, and chunks are chunks."""
    stage = await scripted()
    client = await stage.client()
    request = GET.replace(b"HTTP/1.1", b"HTTP/1.2")
    answer = CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.3") + b"5\r\nhello\r\n0\r\n\r\n"
    await client.send(request)
    worker = await stage.worker.connection()
    for _ in range(2):
        await worker.expect(request)
        await worker.send(answer)
        await client.expect(answer)
        await client.send(request)
    record = await stage.outcome(2)
    assert (record.status, record.minor) == (200, 2), "the log has what the client said"
    await worker.expect(request)
    await worker.send(answer)
    await client.expect(answer)


async def test_small_writes_are_not_held_back_on_either_side(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(OK)
    await client.expect(OK)
    connection = stage.worker.backend.connection
    assert connection is not None
    for transport in (connection.transport, next(iter(stage.proxy.clients)).transport):
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_head_waits_for_its_body_unless_that_may_take_long(scripted: OpenStage) -> None:
    """httpuv sends them apart: the client gets both in one write. What is streamed is passed on at once."""
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK[:-5])
    await client.expect_quiet()
    await worker.send(OK[-5:])
    await client.expect(OK)
    await client.send(GET)
    await worker.expect(GET)
    await worker.send(CHUNKED)
    await client.expect(CHUNKED)
    await worker.send(b"0\r\n\r\n")
    await client.expect(b"0\r\n\r\n")


async def test_without_quick_acks_an_answer_in_two_parts_ends_the_connection(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.proxy.upstream._QUICKACK", None)
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)
    await client.send(GET)
    await worker.expect(GET)
    await worker.send(OK[:-5])
    await asyncio.sleep(0.02)
    await worker.send(OK[-5:])
    await client.expect(OK)
    await worker.expect_gone()
    await lock_is_given_back(stage)


async def test_byte_for_byte(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = (
        b"PoST  /".replace(b"  ", b" ")
        + b"%7E?x=[] HTTP/1.1\r\nhOST:\t a \r\nX:\xe4\r\nX: \r\ncontent-length: 003\r\n\r\n\x00\r\n"
    )
    response = b"HTTP/1.1 299 \xe4\r\nsErver:  x\r\ncontent-LENGTH:1\r\nSet-Cookie: a\r\nSet-Cookie: a\r\n\r\n\xff"
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(response)
    await client.expect(response)
    await worker.expect_quiet()


async def test_requests_sent_ahead_are_answered_in_order_one_at_a_time(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3)]
    await client.send(b"".join(requests))
    worker = await stage.worker.connection()
    for number, request in enumerate(requests):
        await worker.expect(request)
        await worker.expect_quiet()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number
        await worker.send(answer)
        await client.expect(answer)


async def test_a_response_in_pieces_inside_its_line_ends(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    response = CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"
    await client.send(GET)
    worker = await stage.worker.connection()
    for index in range(len(response)):
        await worker.send(response[index : index + 1])
        await asyncio.sleep(0)
    await client.expect(response)
    await lock_is_given_back(stage, await _after(worker, GET))


async def _after(worker: Peer, sent: bytes) -> Peer:
    await worker.expect(sent)
    return worker


async def test_two_workers_at_once_and_the_third_request_waits(scripted: OpenStage) -> None:
    stage = await scripted(2)
    clients = [await stage.client() for _ in range(3)]
    for client in clients:
        await client.send(GET)
    first, second = [await worker.connection() for worker in stage.workers]
    await first.expect(GET)
    await second.expect(GET)
    assert stage.proxy.pool.dispatcher.waiting == 1
    await second.send(OK)
    await clients[1].expect(OK)
    await second.expect(GET)
    await second.send(OK)
    await clients[2].expect(OK)
    await first.send(OK)
    await clients[0].expect(OK)


async def test_close_delimited_response(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)  # else the kernel resets the connection instead of closing it
    await worker.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
    worker.close()
    await client.expect(b"HTTP/1.0 200 OK\r\n\r\nhello")
    await client.expect_end()
    await lock_is_given_back(stage)


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body_by_status(scripted: OpenStage, status: int) -> None:
    stage = await scripted()
    client = await stage.client()
    answer = b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % status
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    await client.expect(answer)
    await lock_is_given_back(stage, worker)


async def test_head_answered_with_a_body_as_plumber_does(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    head, body = OK[:-5], OK[-5:]
    await client.send(GET.replace(b"GET", b"HEAD"))
    worker = await stage.worker.connection()
    await worker.send(head)
    await client.expect(head)
    await client.send(GET)
    fresh = await stage.worker.connection()
    await fresh.expect(GET)
    await worker.send(body)
    await fresh.send(OK)
    await client.expect(OK)


async def test_http_1_0_is_closed_without_keep_alive_and_kept_with_it(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answer = OK.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(answer)
    await client.expect(answer)
    await client.send(GET.replace(b"1.1", b"1.0"))
    await worker.expect(GET.replace(b"1.1", b"1.0"))
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()


@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_http_1_0_is_told_that_it_is_not_kept_by_a_worker_that_answers_1_1(
    scripted: OpenStage, pieces: int
) -> None:
    """Its `keep-alive` and the answer's version would let it send the next request here."""
    stage = await scripted()
    client = await stage.client()
    request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    for part in (OK[:-5], OK[-5:]) if pieces == 2 else (OK[:20], OK[20:-5], OK[-5:]) if pieces == 3 else (OK,):
        await worker.send(part)
        await asyncio.sleep(0.01)
    await client.expect(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    await client.expect_end()
    await lock_is_given_back(stage, worker)  # which is kept: it knows nothing of that


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_nothing_is_added_where_the_answer_says_so_itself(scripted: OpenStage, answer: bytes) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    worker = await stage.worker.connection()
    await worker.read_head()
    await worker.send(answer)
    await client.expect(answer)
    await client.expect_end()


async def test_connection_close_of_the_client(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    await client.send(request + GET)
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_gone()
    await worker.expect_gone()
    await lock_is_given_back(stage)


TRACED = (
    b"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    b"TraceState: rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE\r\nbaggage: a=1;b\r\n\r\n"
)


@pytest.mark.parametrize("settings", [{}, {"otel_endpoint": "http://127.0.0.1:9"}], ids=["plain", "with traces"])
async def test_the_fields_of_a_trace_go_through_untouched(scripted: OpenStage, settings: dict[str, str]) -> None:
    stage = await scripted(**settings)
    client = await stage.client()
    await client.send(TRACED)
    worker = await stage.worker.connection()
    await worker.expect(TRACED)
    await worker.send(OK)
    await client.expect(OK)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" if settings else ""
    assert (await stage.outcome()).trace == trace
