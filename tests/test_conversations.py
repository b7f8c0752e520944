"""Conversations: what client and worker send and when, and the exact outcome on both sides.

Each runs on the standard loop; `test_end_to_end.py` runs the program on uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import pytest

from tests.support.scripted import Peer, Stage

OpenStage = Callable[..., Awaitable[Stage]]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(body: bytes, *fields: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: %d" % size, *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def lock_is_given_back(stage: Stage, worker: Peer | None = None) -> None:
    """Whatever happened before: the worker serves the next client."""
    await stage.idle()
    client = await stage.client()
    await client.send(GET)
    if worker is None:
        worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)


# -- the ordinary course ----------------------------------------------------------------------------------------


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
    await client.send(GET)
    await worker.expect(GET)
    await worker.send(OK[:-5])
    worker.close()
    assert (await client.read_answer())[0] == 502


async def test_without_quick_acks_an_answer_in_two_parts_ends_the_connection(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.proxy.backend._QUICKACK", None)
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
    assert stage.proxy.dispatcher.waiting == 1
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
    await client.send(request)
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
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


# -- Expect and interim responses -------------------------------------------------------------------------------


async def test_100_continue_is_ours_once_and_the_workers_is_swallowed(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = post(b"hello", b"Expect: 100-continue")
    await client.send(request[:-5])
    await client.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
    await stage.worker.expect_no_connection()
    await client.send(request[-5:])
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(b"HTTP/1.1 100 Continue\r\nDate: x\r\n\r\n" + OK)
    await client.expect(OK)


async def test_no_100_where_the_body_has_begun_or_for_http_1_0(scripted: OpenStage) -> None:
    stage = await scripted()
    for request in (
        post(b"hello", b"Expect: 100-continue"),
        post(b"hello", b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        client = await stage.client()
        await client.send(request[:-4])
        await client.expect_quiet()
        await client.send(request[-4:])
        worker = await stage.worker.connection()
        await worker.expect(request)
        await worker.send(OK.replace(b"OK", b"OK\r\nConnection: close"))
        worker.close()
        assert (await client.read_answer())[0] == 200


async def test_413_comes_before_100(scripted: OpenStage) -> None:
    stage = await scripted(max_body=4)
    client = await stage.client()
    await client.send(post(b"", b"Expect: 100-continue", length=5))
    status, answer = await client.read_answer()
    assert status == 413
    assert b"application/problem+json" in answer
    await client.expect_end()
    await stage.worker.expect_no_connection()


async def test_interim_responses_are_relayed(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(hints)
    await client.expect(hints)
    await worker.send(hints + OK)
    await client.expect(hints + OK)
    await client.send(GET)
    await worker.expect(GET + GET)


async def test_endless_interim_responses(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET.replace(b"1.1", b"1.0"))
    worker = await stage.worker.connection()
    await worker.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 17)
    assert (await client.read_answer())[0] == 502
    await lock_is_given_back(stage)


# -- workers that fail ------------------------------------------------------------------------------------------


async def test_a_get_is_sent_again_over_a_fresh_connection_but_only_once(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    for _ in range(2):
        worker = await stage.worker.connection()
        await worker.expect(GET)
        worker.close()
    status, answer = await client.read_answer()
    assert status == 502
    assert b"Proxy-Status: faucet; error=" in answer
    await stage.worker.expect_no_connection()
    await lock_is_given_back(stage)


async def test_a_post_is_never_sent_twice(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.worker.connection()
    await worker.expect(post(b"hello"))
    worker.close()
    assert (await client.read_answer())[0] == 502
    await stage.worker.expect_no_connection()
    await lock_is_given_back(stage)


async def test_a_post_is_not_sent_over_a_connection_that_the_worker_has_closed(scripted: OpenStage) -> None:
    """The close is in the kernel, but the loop has not told us yet."""
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)
    connection = stage.worker.backend.connection
    assert connection is not None
    connection.transport.pause_reading()
    worker.close()
    await worker.writer.wait_closed()
    await client.send(post(b"hello"))
    fresh = await stage.worker.connection()
    await fresh.expect(post(b"hello"))
    await fresh.send(OK)
    await client.expect(OK)


async def test_refused_connection_goes_to_another_worker(scripted: OpenStage) -> None:
    stage = await scripted(2)
    stage.worker.stop_listening()
    for _ in range(2):
        client = await stage.client()
        await client.send(post(b"hello"))
        worker = await stage.workers[1].connection()
        await worker.expect(post(b"hello"))
        await worker.send(OK.replace(b"OK", b"OK\r\nConnection: close"))
        worker.close()
        assert (await client.read_answer())[0] == 200
    assert len(stage.worker.unreachable) == 1
    assert "held[1]" in repr(stage.proxy.dispatcher)


async def test_the_worker_dies_and_the_get_goes_to_the_next(scripted: OpenStage) -> None:
    stage = await scripted(2)
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    stage.worker.stop_listening()
    stage.proxy.remove(stage.worker.backend)
    worker.reset()
    other = await stage.workers[1].connection()
    await other.expect(GET)
    await other.send(OK)
    await client.expect(OK)
    assert (await stage.outcome()).worker == "2"


async def test_the_last_words_of_a_worker_that_is_gone_are_heard(scripted: OpenStage) -> None:
    """Its exit may be known before its answer was read."""
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    stage.proxy.remove(stage.worker.backend)
    await worker.send(OK)
    worker.close()
    await client.expect(OK)
    assert stage.proxy.dispatcher.locked == 0


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\nX: y\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na"],
)
async def test_garbage_is_a_502(scripted: OpenStage, answer: bytes) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(answer)
    assert (await client.read_answer())[0] == 502
    await lock_is_given_back(stage)
    await client.send(GET)
    assert stage.proxy.dispatcher.waiting == 0


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", CHUNKED + b"5\r\nhello\r\n", CHUNKED + b"5\r\nhe"]
)
async def test_a_broken_answer_looks_broken(scripted: OpenStage, begin: bytes, reset: bool) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(begin)
    await client.expect(begin)
    worker.reset() if reset else worker.close()
    await client.expect_reset()
    assert "before it was complete" in (await stage.outcome()).note
    await lock_is_given_back(stage)


async def test_a_broken_close_delimited_answer_looks_broken(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    await client.expect(b"HTTP/1.1 200 OK\r\n\r\nhello")
    worker.reset()
    await client.expect_reset()
    await lock_is_given_back(stage)


async def test_half_a_head_is_a_502_and_not_sent_again(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(b"HTTP/1.1 200 OK\r\nContent-")
    worker.close()
    assert (await client.read_answer())[0] == 502
    await stage.worker.expect_no_connection()


async def test_garbage_behind_the_answer_closes_the_workers_connection(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK + OK)
    await client.expect(OK)
    await worker.expect_gone()
    await client.expect_quiet()
    await lock_is_given_back(stage)


async def test_an_answer_before_anything_was_asked(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)
    await worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
    await worker.expect_gone()
    await lock_is_given_back(stage)


async def test_chunks_for_a_client_of_http_1_0(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    worker = await stage.worker.connection()
    await worker.send(CHUNKED + b"5\r\nhello\r\n")
    assert (await client.read_answer())[0] == 502
    assert stage.proxy.dispatcher.locked == 1, "the worker still answers"
    await worker.send(b"0\r\n\r\n")
    await stage.idle()


async def test_request_timeout(scripted: OpenStage) -> None:
    stage = await scripted(2, request_timeout=0.1)
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    status, answer = await client.read_answer()
    assert status == 504
    assert b"0.1 s" in answer
    assert stage.worker.hung
    assert stage.proxy.dispatcher.size == 1
    await worker.expect_gone()
    await client.send(GET)
    other = await stage.workers[1].connection()
    await other.send(OK)
    await client.expect(OK)


async def test_request_timeout_within_the_answer(scripted: OpenStage) -> None:
    stage = await scripted(request_timeout=0.1)
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(OK[:-1])
    await client.expect(OK[:-1])
    await client.expect_reset()
    assert stage.worker.hung


@pytest.mark.parametrize("line", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"])
async def test_bytes_that_may_follow_where_none_belong(scripted: OpenStage, line: bytes) -> None:
    """They must not become the answer to the next request, which may be another client's."""
    stage = await scripted()
    client, waiting = await stage.client(), await stage.client()
    head = line + b"\r\nContent-Length: 5\r\n\r\n"
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await waiting.send(GET)
    await worker.send(head)
    await client.expect(head)
    fresh = await stage.worker.connection()
    await fresh.expect(GET)
    await fresh.send(OK)
    await waiting.expect(OK)


async def test_a_status_beyond_the_known_classes(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    odd = OK.replace(b"200 OK", b"799 Odd")
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(odd)
    await client.expect(odd)
    await lock_is_given_back(stage, worker)


async def test_a_bug_in_the_log_loses_no_lock_and_no_other_request(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await scripted()
    client, waiting = await stage.client(), await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await waiting.send(GET)
    await asyncio.sleep(0.02)

    def fail(record: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("a bug")

    monkeypatch.setattr(stage.proxy, "record", fail)
    await worker.send(OK)
    await worker.expect(GET)
    await worker.send(OK)
    await waiting.expect(OK)
    await lock_is_given_back(stage, worker)


async def test_an_early_refusal_of_a_worker_that_closes_at_once(scripted: OpenStage) -> None:
    """Its answer is there, but our next write fails before it is read."""
    stage = await scripted(buffer_request=1000)
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    for _ in range(20):
        client = await stage.client()
        await client.send(post(b"x" * 2000, length=1 << 30))
        worker = await stage.worker.connection()
        sending = asyncio.ensure_future(_send_until_cut(client))
        await worker.send(refusal)
        worker.close()
        await client.expect(refusal)
        sending.cancel()
        client.reset()
        await stage.idle()


async def _send_until_cut(client: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await client.send(b"x" * 100_000)


# -- clients that leave -----------------------------------------------------------------------------------------


async def test_a_client_that_leaves_does_not_free_the_worker(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    client.reset()
    second = await stage.client()
    await second.send(GET)
    await worker.expect_quiet()
    assert stage.proxy.dispatcher.locked == 1
    await worker.send(OK[:-1])
    await worker.expect_quiet()
    await worker.send(OK[-1:])
    assert (await stage.outcome()).status == 499
    await worker.expect(GET)
    await worker.send(OK)
    await second.expect(OK)


async def test_a_client_that_leaves_the_queue_never_reaches_a_worker(scripted: OpenStage) -> None:
    stage = await scripted()
    first, leaver, last = [await stage.client() for _ in range(3)]
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await leaver.send(GET.replace(b"/", b"/leaver", 1))
    await asyncio.sleep(0.02)
    await last.send(GET)
    await asyncio.sleep(0.02)
    leaver.close()
    assert (await stage.outcome()).status == 499
    await worker.send(OK)
    await worker.expect(GET)
    await worker.send(OK)
    await last.expect(OK)


async def test_a_client_that_leaves_the_queue_unseen_never_reaches_a_worker(scripted: OpenStage) -> None:
    """What it sent ahead keeps us from reading, so nobody has told us that it left."""
    stage = await scripted()
    first, leaver = [await stage.client() for _ in range(2)]
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await leaver.send(GET + GET)
    await asyncio.sleep(0.02)
    leaver.close()
    await leaver.writer.wait_closed()
    await worker.send(OK)
    await first.expect(OK)
    await stage.outcome(2)
    await worker.expect_quiet()
    await lock_is_given_back(stage, worker)


async def test_a_thousand_clients_that_left_unseen(scripted: OpenStage) -> None:
    stage = await scripted()
    first = await stage.client()
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    for _ in range(1000):
        leaver = await stage.client()
        await leaver.send(GET + GET)
        leaver.close()
    while stage.proxy.dispatcher.waiting + len(stage.records) < 1000:
        await asyncio.sleep(0.01)
    await worker.send(OK)
    await first.expect(OK)
    await lock_is_given_back(stage, worker)


@pytest.mark.parametrize("leave_at", [b"GET", b"GET / HTTP/1.1\r\n", post(b"", length=5), post(b"hell", length=5)])
async def test_an_incomplete_request_never_reaches_a_worker(scripted: OpenStage, leave_at: bytes) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(leave_at)
    client.close()
    await stage.worker.expect_no_connection()
    await lock_is_given_back(stage)


async def test_a_client_that_ends_its_sending_side_gets_its_answer(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    client.end_sending()
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()


async def test_a_client_that_ends_its_sending_side_leaves_the_queue(scripted: OpenStage) -> None:
    stage = await scripted()
    first, second = await stage.client(), await stage.client()
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await second.send(GET)
    second.end_sending()
    assert (await second.read_answer())[0] == 503
    await second.expect_end()
    await worker.send(OK)
    await first.expect(OK)
    await worker.expect_quiet()


# -- slow clients -----------------------------------------------------------------------------------------------


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
    assert stage.proxy.dispatcher.locked == 1
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
    stage = await scripted(buffer_response=64 << 10, request_timeout=0.3)
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
    stage.proxy.lingering.discard(ours)
    ours.resume_writing()
    assert len(stage.proxy.readers) == 1
    ours.transport.close()
    ours.pause_writing()
    ours.resume_writing()
    assert len(stage.proxy.readers) == 1


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


# -- streamed bodies --------------------------------------------------------------------------------------------


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
    assert stage.proxy.dispatcher.locked == 1
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
    assert stage.proxy.dispatcher.waiting == 1
    await worker.send(OK)
    await first.expect(OK)
    await worker.expect(request)
    await slow.send(b"0\r\n\r\n")
    await worker.expect(b"0\r\n\r\n")
    await worker.send(OK)
    await slow.expect(OK)


# -- the queue --------------------------------------------------------------------------------------------------


async def test_queue_full(scripted: OpenStage) -> None:
    stage = await scripted(queue_limit=1)
    first, second, third = [await stage.client() for _ in range(3)]
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await second.send(GET)
    await asyncio.sleep(0.02)
    await third.send(GET)
    status, answer = await third.read_answer()
    assert status == 503
    assert b"Retry-After: 1\r\n" in answer
    await worker.send(OK)
    await first.expect(OK)
    await worker.expect(GET)
    await third.send(GET)
    await worker.send(OK)
    await worker.expect(GET)
    await worker.send(OK)
    await third.expect(OK)


async def test_a_thousand_requests_sent_ahead_into_a_full_queue(scripted: OpenStage) -> None:
    stage = await scripted(workers=0, queue_limit=0)
    client = await stage.client()
    await client.send(GET * 1000)
    for _ in range(1000):
        assert (await client.read_answer())[0] == 503


async def test_queue_timeout(scripted: OpenStage) -> None:
    stage = await scripted(queue_timeout=0.1)
    first, second = await stage.client(), await stage.client()
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await second.send(GET)
    status, answer = await second.read_answer()
    assert status == 503
    assert b"Retry-After" in answer
    await worker.send(OK)
    await first.expect(OK)
    await worker.expect_quiet()
    await second.send(GET)
    await worker.expect(GET)


async def test_no_worker_at_all_and_then_one(scripted: OpenStage) -> None:
    stage = await scripted(2)
    for worker in stage.workers:
        stage.proxy.hold(worker.backend)
    client = await stage.client()
    await client.send(GET)
    await client.expect_quiet()
    stage.proxy.resume(stage.workers[1].backend)
    worker = await stage.workers[1].connection()
    await worker.expect(GET)


async def test_a_reset_that_meets_our_answer_stops_nobody_elses(scripted: OpenStage) -> None:
    """Its client has closed unseen, since it had sent ahead: what we write draws a reset before we can half-close."""
    stage = await scripted(queue_timeout=0.2)
    first, leaver, stayer = [await stage.client() for _ in range(3)]
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await leaver.send(post(b"hello", b"Connection: close") + GET)
    await asyncio.sleep(0.03)
    leaver.close()
    await leaver.writer.wait_closed()
    await stayer.send(GET)
    assert (await stayer.read_answer())[0] == 503
    await worker.send(OK)
    await first.expect(OK)
    await first.send(GET)
    await worker.expect(GET)
    await stayer.send(GET)
    assert (await stayer.read_answer())[0] == 503, "the queue still has a clock"


# -- upgrades ---------------------------------------------------------------------------------------------------

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_a_tunnel_lives_beside_the_lock(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(UPGRADE + b"ahead")
    tunnel = await stage.worker.connection()
    await tunnel.expect(UPGRADE)
    await tunnel.send(SWITCH + b"first")
    await client.expect(SWITCH + b"first")
    await tunnel.expect(b"ahead")
    await lock_is_given_back(stage)
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    await tunnel.expect(b"GET / HTTP/1.1\r\n\r\n")
    client.end_sending()
    await tunnel.expect_end()
    await tunnel.send(b"last")
    tunnel.end_sending()
    await client.expect(b"last")
    await client.expect_end()
    while stage.proxy.tunnels:
        await asyncio.sleep(0.01)


async def test_a_cut_tunnel_is_cut_on_the_other_side(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(UPGRADE)
    tunnel = await stage.worker.connection()
    await tunnel.expect(UPGRADE)
    await tunnel.send(SWITCH)
    await client.expect(SWITCH)
    tunnel.reset()
    await client.expect_gone()


async def test_a_refused_upgrade_is_an_ordinary_answer(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(UPGRADE)
    worker = await stage.worker.connection()
    await worker.expect(UPGRADE)
    await worker.send(OK)
    await client.expect(OK)
    await lock_is_given_back(stage, worker)


async def test_an_upgrade_nobody_asked_for(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(SWITCH)
    assert (await client.read_answer())[0] == 502
    await lock_is_given_back(stage)


async def test_an_upgrade_while_others_wait(scripted: OpenStage) -> None:
    """The lock goes to the next at once: over another connection."""
    stage = await scripted()
    client, waiting = await stage.client(), await stage.client()
    await client.send(UPGRADE)
    tunnel = await stage.worker.connection()
    await tunnel.expect(UPGRADE)
    await waiting.send(GET)
    await asyncio.sleep(0.02)
    await tunnel.send(SWITCH)
    await client.expect(SWITCH)
    other = await stage.worker.connection()
    await other.expect(GET)
    await client.send(b"ping")
    await tunnel.expect(b"ping")
    await other.send(OK)
    await waiting.expect(OK)


async def test_a_tunnel_whose_client_had_ended_its_sending_side(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(UPGRADE)
    tunnel = await stage.worker.connection()
    await tunnel.expect(UPGRADE)
    client.end_sending()
    await asyncio.sleep(0.02)
    await tunnel.send(SWITCH)
    await client.expect(SWITCH)
    await tunnel.expect_end()
    tunnel.close()
    await client.expect_end()
    async with asyncio.timeout(1):
        while stage.proxy.tunnels:
            await asyncio.sleep(0.01)


# -- the end ----------------------------------------------------------------------------------------------------


async def test_drain(scripted: OpenStage) -> None:
    stage = await scripted()
    busy, waiting, idle = [await stage.client() for _ in range(3)]
    await busy.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await waiting.send(GET)
    await asyncio.sleep(0.02)
    draining = asyncio.ensure_future(stage.proxy.drain(5))
    assert (await waiting.read_answer())[0] == 503
    await waiting.expect_end()
    await idle.expect_end()
    assert not draining.done()
    await worker.send(OK)
    await busy.expect(OK)
    await busy.expect_end()
    assert await draining


async def test_drain_that_takes_too_long(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    await stage.worker.connection()
    assert not await stage.proxy.drain(0.1)
