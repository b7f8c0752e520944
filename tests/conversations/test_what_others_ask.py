"""Conversations: questions that the test suites of other proxies ask, of this one.

Early hints before every kind of answer, answers cut at every byte, fields that come twice, data behind the end, clients
that abort at every stage, uploads whose answer comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from faucet.net.connect import connect_tcp
from tests.support.scripted import PATIENCE, Peer, Stage
from tests.support.talk import CHUNKED, GET, OK, OpenStage, lock_is_given_back, post

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
WHOLE = CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"


async def asked(stage: Stage, request: bytes = GET) -> tuple[Peer, Peer]:
    """A client that has asked, and the worker that got it."""
    client = await stage.client()
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    return client, worker


# -- interim responses ---------------------------------------------------------------------------------------------


async def test_early_hints_come_at_once_before_every_kind_of_answer(scripted: OpenStage) -> None:
    stage = await scripted()
    client, worker = await asked(stage)
    for final in (OK, WHOLE, b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", OK):
        await worker.send(HINTS)
        await client.expect(HINTS)  # long before the answer
        await worker.send(HINTS[:9])
        await client.expect_quiet()  # half of one is none
        await worker.send(HINTS[9:] + final)
        await client.expect(HINTS + final)
        await client.send(GET)
        await worker.expect(GET)
    until_close = b"HTTP/1.1 200 OK\r\n\r\nto the end"
    await worker.send(HINTS + until_close)
    worker.end_sending()
    await client.expect(HINTS + until_close)
    await client.expect_end()


async def test_early_hints_are_not_for_clients_of_http_1_0(scripted: OpenStage) -> None:
    stage = await scripted()
    client, worker = await asked(stage, b"GET / HTTP/1.0\r\n\r\n")
    await worker.send(HINTS + OK)
    await client.expect(OK)
    await client.expect_end()


async def test_after_early_hints_a_worker_that_fails_is_told_once_and_asked_once(scripted: OpenStage) -> None:
    """The client has seen something already, so it is not sent again, whatever `--retry` says."""
    stage = await scripted(2, retry="always")
    client, worker = await asked(stage)
    await worker.send(HINTS)
    await client.expect(HINTS)
    worker.reset()
    assert (await client.read_answer())[0] == 502
    await client.expect_quiet()
    await stage.workers[1].expect_no_connection()


# -- truncated -----------------------------------------------------------------------------------------------------


async def _all_of(client: Peer) -> bytes:
    """What comes until the end; `b""` for a cut behind it."""
    try:
        return await asyncio.wait_for(client.reader.read(), PATIENCE)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("ending", [Peer.close, Peer.reset], ids=["closed", "reset"])
@pytest.mark.parametrize("whole", [OK, WHOLE], ids=["length", "chunked"])
async def test_an_answer_cut_at_any_byte_never_looks_whole(
    scripted: OpenStage, whole: bytes, ending: Callable[[Peer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.proxy.pool.LEAST_GRACE", 0.01)  # of a worker that ends a connection in the middle
    stage = await scripted()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    for length in range(len(whole)):
        client, worker = await asked(stage, request)
        await worker.send(whole[:length])
        await asyncio.sleep(0)
        ending(worker)
        got = await _all_of(client)
        assert got.startswith(b"HTTP/1.1 502 ") or not got or whole.startswith(got), (length, got)
        assert whole not in got, length
        client.close()
    assert {record.status for record in stage.records} <= {200, 502}
    await lock_is_given_back(stage)


# -- fields that come twice ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_an_answer_framed_twice_is_a_502_and_costs_the_connection(scripted: OpenStage, fields: bytes) -> None:
    stage = await scripted()
    client, worker = await asked(stage)
    await worker.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nhello")
    assert (await client.read_answer())[0] == 502
    worker.close()
    await lock_is_given_back(stage)


async def test_other_fields_may_come_twice_and_stay_as_they_are(scripted: OpenStage) -> None:
    stage = await scripted()
    client, worker = await asked(stage)
    answer = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nDate: x\r\nDate: y\r\nX-:\r\n"
        b"Connection: keep-alive\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    )
    await worker.send(answer)
    await client.expect(answer)
    await client.expect_end()  # of two opinions, close counts, on both sides
    await worker.expect_gone()


# -- data behind the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
async def test_a_second_answer_that_nobody_asked_for_reaches_nobody(scripted: OpenStage, apart: bool) -> None:
    stage = await scripted()
    client, worker = await asked(stage)
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    await worker.send(OK if apart else OK + forged)
    await client.expect(OK)
    if apart:
        await worker.send(forged)
        await asyncio.sleep(0.02)
    await client.send(GET)
    second = await stage.worker.connection()
    await second.expect(GET)
    await second.send(OK)
    await client.expect(OK)
    await worker.expect_gone()


async def test_what_a_client_sends_behind_a_body_is_the_next_request_or_a_400(scripted: OpenStage) -> None:
    stage = await scripted()
    client, worker = await asked(stage, post(b"hello"))
    await client.send(b"extra\r\n\r\n")
    await worker.send(OK)
    await client.expect(OK)
    assert (await client.read_answer())[0] == 400
    await client.expect_end()
    await worker.expect_quiet()


# -- clients that abort --------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_while_its_worker_is_connected_to(scripted: OpenStage) -> None:
    """The request is not sent: nobody wants its answer, and the worker has seen nothing of it."""
    stage = await scripted()
    go_on = asyncio.Event()

    async def slowly(*arguments: object) -> object:
        await go_on.wait()
        return await connect_tcp(*arguments)  # type: ignore[arg-type]

    stage.worker.backend._connector = slowly  # type: ignore[assignment]
    client = await stage.client()
    await client.send(post(b"once"))
    await asyncio.sleep(0.05)
    client.reset()
    await asyncio.sleep(0.05)
    go_on.set()
    outcome = await stage.outcome()
    assert (outcome.status, outcome.worker) == (499, "")
    await stage.idle()
    other = await stage.client()
    await other.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)  # and nothing before it
    await worker.send(OK)
    await other.expect(OK)


async def test_a_client_that_leaves_with_requests_sent_ahead(scripted: OpenStage) -> None:
    """What it sent ahead was never in hand, so no worker gets it."""
    stage = await scripted()
    client, worker = await asked(stage)
    await client.send(post(b"ahead") * 3)
    await asyncio.sleep(0.02)
    client.reset()
    await asyncio.sleep(0.02)
    await worker.send(OK)
    await stage.idle()
    await worker.expect_quiet()
    assert len(stage.records) == 1


# -- an answer before the end of the request -----------------------------------------------------------------------


async def early(stage: Stage) -> tuple[Peer, Peer]:
    client = await stage.client()
    begin = post(b"x" * 2000, length=5_000_000)
    await client.send(begin)
    worker = await stage.worker.connection()
    await worker.expect(begin)
    return client, worker


async def _keeps_sending(client: Peer) -> None:
    for _ in range(50):
        client.writer.write(b"x" * 4000)
        await asyncio.sleep(0.002)


async def _waits(client: Peer) -> None:
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("meanwhile", [_keeps_sending, _waits])
@pytest.mark.parametrize(
    "final", [OK, WHOLE, b"HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
)
async def test_the_answer_to_an_unfinished_upload_is_read_whatever_the_client_does(
    scripted: OpenStage, final: bytes, meanwhile: Callable[[Peer], Awaitable[None]]
) -> None:
    stage = await scripted(buffer_request=1000)
    client, worker = await early(stage)
    sending = asyncio.ensure_future(meanwhile(client))
    await worker.send(final)
    await client.expect(final)
    await sending
    assert len(stage.records) == 1
    client.close()
    await worker.expect_gone_at_last()
    await lock_is_given_back(stage)


# -- upgrades ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: custom\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_an_upgrade_to_anything_but_a_websocket_is_an_ordinary_request(
    scripted: OpenStage, request_: bytes
) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(request_)
    worker = await stage.worker.connection()
    head = await worker.read_head()
    assert b"pgrade: " not in head
    await worker.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: custom\r\n\r\n")
    assert (await client.read_answer())[0] == 502
    worker.close()
    await lock_is_given_back(stage)


WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_frames_behind_an_upgrade_that_is_refused_reach_nobody(scripted: OpenStage) -> None:
    """What a client sent ahead for a tunnel is no request, and a request among it would be one like any other."""
    stage = await scripted()
    client, worker = await asked(stage, WEBSOCKET)
    await client.send(b"\x82\x85\x00\x00\x00\x00hello\r\n\r\n" + GET)
    await worker.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert (await client.read_answer())[0] == 403
    assert (await client.read_answer())[0] == 400
    await client.expect_end()
    await worker.expect_gone()  # behind a length of 0 a connection is not used again
    await stage.worker.expect_no_connection()


async def test_a_worker_that_switches_and_leaves_at_once(scripted: OpenStage) -> None:
    stage = await scripted()
    client, worker = await asked(stage, WEBSOCKET)
    await worker.send(SWITCHED + b"bye")
    worker.close()
    await client.expect(SWITCHED + b"bye")
    await client.expect_end()
    await lock_is_given_back(stage)


# -- sizes on the edge ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [0, 1 << 20], ids=["streamed", "files"])
@pytest.mark.parametrize("size", [999, 1000, 1001, 65535, 65536, 65537])
async def test_messages_that_just_fill_a_buffer_arrive_whole(scripted: OpenStage, size: int, files: int) -> None:
    """Of either framing, each way, and the connections go on."""
    stage = await scripted(buffer_request=1000, buffer_response=1000, spool_limit=files)
    body = bytes(index % 251 for index in range(size))
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    by_chunks = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
    client = await stage.client()
    worker: Peer | None = None
    for request, answer in (
        (post(body), b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body),
        (by_chunks, CHUNKED + chunked),
    ):
        sending = asyncio.ensure_future(client.send(request))
        worker = worker or await stage.worker.connection()
        await worker.expect(request)
        await sending
        answering = asyncio.ensure_future(worker.send(answer))
        await client.expect(answer)
        await answering
    await lock_is_given_back(stage, worker)


# -- ends of connections -------------------------------------------------------------------------------------------


async def test_requests_sent_ahead_before_the_end_of_the_sending_side_are_all_answered(scripted: OpenStage) -> None:
    """As `printf … | nc -N` sends them. The end is read behind the last of them only."""
    stage = await scripted()
    client, worker = await asked(stage)
    await client.send(post(b"ahead") + GET)
    client.end_sending()
    for request in (post(b"ahead"), GET):
        await worker.send(OK)
        await client.expect(OK)
        await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()


async def test_a_client_that_leaves_while_no_worker_accepts_its_request(scripted: OpenStage) -> None:
    stage = await scripted(2)
    for each in stage.workers:
        each.stop_listening()
    client = await stage.client()
    await client.send(post(b"once"))
    async with asyncio.timeout(PATIENCE):
        while not all(each.unreachable for each in stage.workers):
            await asyncio.sleep(0.005)
    await client.expect_quiet()  # it waits for one of them
    client.reset()
    outcome = await stage.outcome()
    assert outcome.status == 499
    await stage.idle()


async def test_a_worker_of_http_1_0_that_keeps_its_connection_is_kept(scripted: OpenStage) -> None:
    stage = await scripted()
    kept = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"
    client, worker = await asked(stage)
    for _ in range(2):
        await worker.send(kept)
        await client.expect(kept)
        await client.send(GET)
        await worker.expect(GET)
    ended = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    await worker.send(ended)
    await client.expect(ended)
    await client.expect_end()
    await worker.expect_gone()
