"""Conversations: what is sent to a worker again, and what never is.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.support.scripted import Peer, Stage
from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post
from tests.support.waiting import when


async def test_always_a_get_is_sent_again_over_a_fresh_connection_but_only_once(scripted: OpenStage) -> None:
    stage = await scripted(retry="always")
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


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"])
async def test_always_what_may_be_done_twice_is_sent_again(scripted: OpenStage, method: bytes) -> None:
    """RFC 9110, 9.2.2."""
    request, answer = post(b"hello").replace(b"POST", method), OK[:-5] if method == b"HEAD" else OK
    stage = await scripted(retry="always")
    client = await stage.client()
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    worker.close()
    again = await stage.worker.connection()
    await again.expect(request)
    await again.send(answer)
    await client.expect(answer)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"get", b"BREW"])
async def test_anything_else_is_never_sent_twice(scripted: OpenStage, method: bytes) -> None:
    request = post(b"hello").replace(b"POST", method)
    stage = await scripted(retry="always")
    client = await stage.client()
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
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
    assert "held[1]" in repr(stage.proxy.pool.dispatcher)


async def test_always_the_worker_dies_and_the_get_goes_to_the_next(scripted: OpenStage) -> None:
    stage = await scripted(2, retry="always")
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    stage.worker.stop_listening()
    stage.proxy.pool.remove(stage.worker.backend)
    worker.reset()
    other = await stage.workers[1].connection()
    await other.expect(GET)
    await other.send(OK)
    await client.expect(OK)
    assert (await stage.outcome()).worker == "2"


async def test_what_is_sent_back_while_no_worker_can_be_started_is_refused_as_all_others(scripted: OpenStage) -> None:
    """It was with a worker when the others were told; it must not wait in a queue that nobody will serve."""
    stage = await scripted(queue_timeout=600, retry="always")
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    stage.worker.stop_listening()
    worker.reset()
    stage.proxy.pool.fail("No worker can be started.")
    stage.proxy.pool.remove(stage.worker.backend)
    status, answer = await client.read_answer()
    assert (status, b"No worker can be started." in answer) == (503, True)
    assert stage.proxy.pool.dispatcher.waiting == 0


async def test_what_is_sent_back_while_the_link_is_down_waits_no_longer_than_all_others(scripted: OpenStage) -> None:
    stage = await scripted(queue_timeout=600, retry="always")
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    stage.worker.stop_listening()
    stage.proxy.pool.interrupt(0.1, lambda: "The link is down.")
    worker.reset()
    status, answer = await client.read_answer()
    assert (status, b"The link is down." in answer) == (503, True)


PUT = post(b"hello").replace(b"POST", b"PUT")


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "new"])
@pytest.mark.parametrize(
    "begin", [OK[:17], OK[:-5], b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["half a head", "a head", "an interim response"]
)
async def test_always_what_nobody_has_seen_is_sent_again(scripted: OpenStage, begin: bytes, kept: bool) -> None:
    """R sends head and body apart, and may be killed in between. To another, whatever the age of the connection:
    the first was at work on it."""
    stage = await scripted(2, retry="always")
    client = await stage.client()
    peers = []
    for worker in stage.workers if kept else []:
        await client.send(GET)
        peers.append(await worker.connection())
        await peers[-1].expect(GET)
        await peers[-1].send(OK)
        await client.expect(OK)
    request = PUT.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue")
    await client.send(request)
    first = peers[0] if kept else await stage.worker.connection()
    await first.expect(request)
    await first.send(begin)
    first.close()
    second = peers[1] if kept else await stage.workers[1].connection()
    await second.expect(request)
    await second.send(OK)
    await client.expect(OK)
    record = await stage.outcome(3 if kept else 1)
    assert (record.worker, record.note) == ("2", "sent again, since worker 1 ended the connection")
    assert record.sent == len(OK)
    await lock_is_given_back(stage, second)


async def test_what_the_client_has_seen_a_part_of_is_not_sent_again(scripted: OpenStage) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    stage = await scripted()
    client = await stage.client()
    await client.send(PUT)
    worker = await stage.worker.connection()
    await worker.expect(PUT)
    await worker.send(hint)
    await client.expect(hint)
    worker.close()
    assert (await client.read_answer())[0] == 502
    await stage.worker.expect_no_connection()


@pytest.mark.parametrize("begin", [OK[:17], OK[:-5]], ids=["half a head", "a head alone"])
async def test_a_post_is_not_sent_again_whatever_was_seen_of_its_answer(scripted: OpenStage, begin: bytes) -> None:
    stage = await scripted(retry="always")
    client = await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.worker.connection()
    await worker.expect(post(b"hello"))
    await worker.send(begin)
    worker.close()
    assert (await client.read_answer())[0] == 502
    assert "before it was complete" in (await stage.outcome()).note
    await stage.worker.expect_no_connection()


async def kept_connections(stage: Stage, client: Peer) -> list[Peer]:
    """One of each worker, that it has answered on."""
    peers = []
    for worker in stage.workers:
        await client.send(GET)
        peers.append(await worker.connection())
        await peers[-1].expect(GET)
        await peers[-1].send(OK)
        await client.expect(OK)
    return peers


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "new"])
async def test_a_get_that_crashes_its_worker_kills_no_second_one(scripted: OpenStage, kept: bool) -> None:
    stage = await scripted(2, supervised=True)
    client = await stage.client()
    peers = await kept_connections(stage, client) if kept else []
    await client.send(GET)
    worker = peers[0] if kept else await stage.worker.connection()
    await worker.expect(GET)
    stage.worker.stop_listening()
    worker.close()
    await asyncio.sleep(0.01)  # its exit is known a moment later
    stage.worker.backend.exit = "crashed (SIGSEGV)"
    assert stage.proxy.pool.remove(stage.worker.backend) is not None
    status, answer = await client.read_answer()
    assert (status, b"crashed (SIGSEGV) without an answer" in answer) == (502, True)
    if kept:
        await peers[1].expect_quiet()
    else:
        await stage.workers[1].expect_no_connection()
    assert (await stage.outcome(3 if kept else 1)).note == "The worker crashed (SIGSEGV) without an answer."


@pytest.mark.parametrize("first", ["connection", "exit"])
async def test_how_the_worker_ended_is_noted_though_the_client_is_told_before(scripted: OpenStage, first: str) -> None:
    stage = await scripted(1, supervised=True)
    client = await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.worker.connection()
    await worker.expect(post(b"hello"))
    stage.worker.backend.exit = "exited with code 3"
    if first == "exit":
        stage.proxy.pool.remove(stage.worker.backend)
    worker.close()
    status, answer = await client.read_answer()
    assert (status, b"exited with code 3 without an answer" in answer) == (502, first == "exit")
    if first == "connection":
        stage.proxy.pool.remove(stage.worker.backend)
    assert (await stage.outcome()).note == "The worker exited with code 3 without an answer."


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "new"])
async def test_a_get_whose_worker_lives_is_sent_again(scripted: OpenStage, kept: bool) -> None:
    """To another: it has read it, and may be at work on it. So its lock stays for a while."""
    stage = await scripted(2, supervised=True)
    client = await stage.client()
    peers = await kept_connections(stage, client) if kept else []
    await client.send(GET)
    worker = peers[0] if kept else await stage.worker.connection()
    await worker.expect(GET)
    worker.close()
    again = peers[1] if kept else await stage.workers[1].connection()
    await again.expect(GET)
    assert stage.proxy.pool.dispatcher.locked == 2
    await again.send(OK)
    await client.expect(OK)
    assert (await stage.outcome(3 if kept else 1)).note == "sent again, since worker 1 ended the connection"


@pytest.mark.parametrize("supervised", [True, False], ids=["process", "pod"])
async def test_what_met_a_closed_connection_is_sent_again_to_the_same(scripted: OpenStage, supervised: bool) -> None:
    """The worker had closed it before our request came. It has not read a byte: nobody needs to wait."""
    stage = await scripted(2, supervised=supervised)
    client = await stage.client()
    peers = await kept_connections(stage, client)
    connection = stage.worker.backend.connection
    assert connection is not None
    connection.transport.pause_reading()
    peers[0].close()
    await peers[0].writer.wait_closed()
    await client.send(GET)
    await asyncio.sleep(0.02)
    connection.resume_reading()
    again = await stage.worker.connection()
    await again.expect(GET)
    assert stage.proxy.pool.dispatcher.locked == 1
    await again.send(OK)
    await client.expect(OK)


@pytest.mark.parametrize("supervised", [True, False], ids=["process", "pod"])
async def test_a_worker_that_ends_a_connection_in_the_middle_is_left_alone_for_a_while(
    scripted: OpenStage, supervised: bool
) -> None:
    stage = await scripted(supervised=supervised)
    client, waiting = await stage.client(), await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.worker.connection()
    await worker.expect(post(b"hello"))
    await waiting.send(GET)
    await asyncio.sleep(0.1)  # it has been at work
    worker.close()
    assert (await client.read_answer())[0] == 502
    ended = asyncio.get_running_loop().time()
    second = await stage.worker.connection()
    assert asyncio.get_running_loop().time() - ended > 0.9
    await second.expect(GET)
    await second.send(OK)
    await waiting.expect(OK)


@pytest.mark.parametrize("request_", [GET.replace(b"GET", b"FOO"), post(b"hello").replace(b"POST", b"FOO")])
@pytest.mark.parametrize("ending", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_a_worker_that_refuses_a_request_at_once_is_soon_free_again(
    scripted: OpenStage, request_: bytes, ending: Callable[[Peer], None]
) -> None:
    """As httpuv refuses methods that it does not know. Or else anybody could keep a pod from others for a minute."""
    stage = await scripted()
    stage.worker.backend.lock_grace = 60.0
    client = await stage.client()
    await client.send(request_)
    worker = await stage.worker.connection()
    await worker.expect(request_)
    ending(worker)
    assert (await client.read_answer())[0] == 502
    await lock_is_given_back(stage)


@pytest.mark.parametrize("request_", [GET, post(b"hello").replace(b"POST", b"PUT")], ids=["GET", "PUT"])
async def test_what_a_dying_worker_had_not_read_is_sent_to_another(scripted: OpenStage, request_: bytes) -> None:
    """It was killed while it was idle, say. A reset: it had not read all. Of a body that may be the rest."""
    stage = await scripted(2, supervised=True)
    client = await stage.client()
    await client.send(request_)
    worker = await stage.worker.connection()
    await when(lambda: "active" in repr(stage.proxy.pool.dispatcher))  # else our end is still being opened
    stage.worker.stop_listening()
    worker.reset()
    await asyncio.sleep(0.01)
    stage.proxy.pool.remove(stage.worker.backend)
    if request_ is GET:
        other = await stage.workers[1].connection()
        await other.expect(GET)
        await other.send(OK)
        await client.expect(OK)
    else:
        assert (await client.read_answer())[0] == 502
        await stage.workers[1].expect_no_connection()


async def test_nobody_else_meets_a_dying_worker(scripted: OpenStage) -> None:
    """Between the end of its connection and its exit it has no other request, whatever became of the first."""
    stage = await scripted(supervised=True)
    client, next_ = await stage.client(), await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.worker.connection()
    await worker.expect(post(b"hello"))
    await next_.send(GET)
    await asyncio.sleep(0.02)
    worker.close()
    assert (await client.read_answer())[0] == 502
    assert stage.proxy.pool.dispatcher.locked == 1, "the next one waits until it is known"
    account = stage.proxy.pool.remove(stage.worker.backend)
    assert account is not None
    assert account.method == b"POST"
    assert stage.proxy.pool.dispatcher.waiting == 1
    await stage.worker.expect_no_connection()
    stage.proxy.pool.fail("It is over.")
    assert (await next_.read_answer())[0] == 503


async def test_a_worker_that_lives_serves_the_next_after_a_moment(scripted: OpenStage) -> None:
    stage = await scripted(supervised=True)
    client = await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.worker.connection()
    await worker.expect(post(b"hello"))
    worker.close()
    assert (await client.read_answer())[0] == 502
    assert (await stage.outcome()).status == 502
    await lock_is_given_back(stage)
    assert len(stage.records) == 2


@pytest.mark.parametrize(
    ("kept", "late", "status"),
    [(True, False, 200), (True, True, 502), (False, False, 502)],
    ids=["stale", "late", "new"],
)
async def test_of_pods_nobody_knows_so_only_a_stale_connection_is_forgiven(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch, kept: bool, late: bool, status: int
) -> None:
    monkeypatch.setattr("faucet.proxy.failures.STALE_SECONDS", 0.2)
    stage = await scripted(2)
    client = await stage.client()
    peers = await kept_connections(stage, client) if kept else []
    await client.send(GET)
    worker = peers[0] if kept else await stage.worker.connection()
    await worker.expect(GET)
    if late:
        await asyncio.sleep(0.25)
    worker.close()
    if status == 200:
        again = peers[1]
        await again.expect(GET)
        await again.send(OK)
    assert (await client.read_answer())[0] == status


@pytest.mark.parametrize("begin", [OK[:17], OK[:-5]], ids=["half a head", "a head alone"])
@pytest.mark.parametrize("supervised", [True, False], ids=["process", "pod"])
async def test_what_a_worker_had_begun_to_answer_is_not_sent_again(
    scripted: OpenStage, begin: bytes, supervised: bool
) -> None:
    stage = await scripted(2, supervised=supervised)
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(begin)
    worker.close()
    assert (await client.read_answer())[0] == 502
    await stage.workers[1].expect_no_connection()


async def test_none_sends_nothing_twice_but_uses_no_stale_connection(scripted: OpenStage) -> None:
    stage = await scripted(retry="none", supervised=True)
    client = await stage.client()
    (worker,) = await kept_connections(stage, client)
    connection = stage.worker.backend.connection
    assert connection is not None
    connection.transport.pause_reading()
    worker.close()
    await worker.writer.wait_closed()
    await client.send(GET)
    fresh = await stage.worker.connection()
    await fresh.expect(GET)
    fresh.close()
    assert (await client.read_answer())[0] == 502
    await stage.worker.expect_no_connection()


async def test_none_still_lets_another_serve_what_was_never_sent(scripted: OpenStage) -> None:
    stage = await scripted(2, retry="none")
    stage.worker.stop_listening()
    client = await stage.client()
    await client.send(post(b"hello"))
    worker = await stage.workers[1].connection()
    await worker.expect(post(b"hello"))
    await worker.send(OK)
    await client.expect(OK)
