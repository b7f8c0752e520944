"""Conversations: workers that fail.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import NoReturn

import pytest

from faucet.proxy.build import COMPILED
from faucet.proxy.record import serving
from faucet.proxy.stats import Record
from tests.support.scripted import Peer
from tests.support.talk import CHUNKED, GET, OK, OpenStage, lock_is_given_back, post


async def test_the_last_words_of_a_worker_that_is_gone_are_heard(scripted: OpenStage) -> None:
    """Its exit may be known before its answer was read."""
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    stage.proxy.pool.remove(stage.worker.backend)
    await worker.send(OK)
    worker.close()
    await client.expect(OK)
    assert stage.proxy.pool.dispatcher.locked == 0


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\nX: y\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na"],
)
async def test_garbage_is_a_502(scripted: OpenStage, answer: bytes) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(answer)
    assert (await client.read_answer())[0] == 502
    await worker.expect_end()
    worker.close()
    await lock_is_given_back(stage)
    await client.send(GET)
    assert stage.proxy.pool.dispatcher.waiting == 0


async def test_a_worker_that_goes_on_after_garbage_keeps_its_lock(scripted: OpenStage) -> None:
    """It is at work on that until it closes."""
    stage = await scripted()
    client, waiting = await stage.client(), await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await waiting.send(GET)
    for _ in range(3):
        await worker.send(b"garbage\r\n\r\n" + OK * 1000)
        await stage.worker.expect_no_connection()
        assert stage.proxy.pool.dispatcher.locked == 1
    assert (await client.read_answer())[0] == 502
    await worker.expect_end()
    worker.close()
    fresh = await stage.worker.connection()
    await fresh.expect(GET)
    await fresh.send(OK)
    await waiting.expect(OK)


async def test_a_worker_that_never_ends_its_garbage_is_replaced(scripted: OpenStage) -> None:
    stage = await scripted(request_timeout=0.2)
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(b"garbage\r\n\r\n")
    assert (await client.read_answer())[0] == 502
    await worker.expect_end()
    async with asyncio.timeout(5):
        while not stage.worker.hung:
            await worker.send(b"more")
            await asyncio.sleep(0.01)
    assert stage.proxy.pool.dispatcher.size == 0
    assert (await stage.outcome()).status == 502


async def test_a_length_that_is_no_number_is_shown_to_the_client_and_in_the_log(scripted: OpenStage) -> None:
    """httpuv writes some lengths as R writes numbers."""
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3e+05\r\n\r\n" + b"x" * 1000)
    status, answer = await client.read_answer()
    assert status == 502
    assert "'3e+05'" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    assert "'3e+05'" in (await stage.outcome()).note
    worker.close()
    await lock_is_given_back(stage)


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
    assert stage.proxy.pool.dispatcher.locked == 1, "the worker still answers"
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
    assert stage.proxy.pool.dispatcher.size == 1
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


async def test_a_body_behind_a_length_of_zero_meets_nobody(scripted: OpenStage) -> None:
    """An API set the length itself. httpuv sends the head alone, and the body when others may use the connection."""
    stage = await scripted()
    client, other = await stage.client(), await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    await worker.send(head)
    await client.expect(head)
    await other.send(GET)
    fresh = await stage.worker.connection()
    await fresh.expect(GET)
    with contextlib.suppress(ConnectionError):
        await worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    await fresh.send(OK)
    await other.expect(OK)


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


@pytest.mark.skipif(COMPILED, reason="methods of a compiled class cannot be replaced")
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

    monkeypatch.setattr(stage.proxy.pool, "record", fail)
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


@pytest.mark.parametrize("client_first", [True, False])
async def test_an_early_refusal_in_the_same_moment_as_the_last_of_the_body(
    scripted: OpenStage, client_first: bool
) -> None:
    """Both are in the kernel before the loop looks at either."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    stage = await scripted(buffer_request=100)
    client = await stage.client()
    await client.send(post(b"x" * 1000, length=2000))
    worker = await stage.worker.connection()
    await worker.expect(post(b"x" * 1000, length=2000))
    ends = [(client, b"x" * 1000), (worker, refusal)]
    for peer, data in ends if client_first else reversed(ends):
        with socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno())) as own:
            own.send(data)
            if peer is worker:
                own.shutdown(socket.SHUT_WR)
    await client.expect(refusal)
    worker.close()
    await lock_is_given_back(stage)


async def test_a_hung_worker_is_told_with_its_request(scripted: OpenStage) -> None:
    stage = await scripted(request_timeout=0.1, supervised=True)
    told: list[Record] = []
    stage.worker.backend.on_hung = told.append
    client = await stage.client()
    await client.send(GET.replace(b"/", b"/slow?x=1", 1))
    assert (await client.read_answer())[0] == 504
    assert [serving(record) for record in told] == ["GET /slow?x=1 from 127.0.0.1"]


@pytest.mark.parametrize("request_", [GET, post(b"once")])
async def test_a_request_timeout_while_connecting_blames_no_worker(scripted: OpenStage, request_: bytes) -> None:
    """The worker does not have the request yet, so another may get it, whatever it is."""
    stage = await scripted(2, request_timeout=0.2)

    async def slow(*_: object) -> NoReturn:
        await asyncio.sleep(0.5)
        raise TimeoutError

    stage.workers[0].backend._connector = slow
    client = await stage.client()
    await client.send(request_)
    worker = await stage.workers[1].connection()
    await worker.expect(request_)
    await worker.send(OK)
    await client.expect(OK)
    assert not stage.workers[0].hung
    assert len(stage.workers[0].unreachable) == 1
