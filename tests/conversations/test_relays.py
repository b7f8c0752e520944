"""Conversations through a relay: a client at one Faucet, a worker at another, and the link between them."""

from __future__ import annotations

import asyncio

import pytest

from faucet.ha.lanes import Lanes
from tests.support.relays import Pair, pair
from tests.support.scripted import Peer, Stage
from tests.support.talk import CHUNKED, GET, OK, post


async def queued(stage: Stage, count: int) -> None:
    async with asyncio.timeout(5):
        while stage.proxy.pool.dispatcher.waiting != count:
            await asyncio.sleep(0.002)


async def sent_in_order(both: Pair, count: int) -> list[Peer]:
    """Clients of the relay whose requests wait at the active, or at the relay."""
    clients = []
    waiting = both.active.proxy.pool.dispatcher.waiting + both.relay.proxy.pool.dispatcher.waiting
    for number in range(count):
        client = await both.relay.client()
        await client.send(numbered(number))
        clients.append(client)
        async with asyncio.timeout(5):
            while both.active.proxy.pool.dispatcher.waiting + both.relay.proxy.pool.dispatcher.waiting <= waiting:
                await asyncio.sleep(0.001)
        waiting += 1
    return clients


def numbered(number: int) -> bytes:
    return post(b"%d" % number)


async def served_in_order(worker: Peer, clients: list[Peer]) -> None:
    for number, client in enumerate(clients):
        await worker.expect(numbered(number))
        await worker.send(OK)
        await client.expect(OK)


async def answer_next(worker: Peer) -> None:
    await worker.read_head()
    await worker.send(OK)


async def test_byte_for_byte_and_on_kept_connections() -> None:
    async with pair() as both:
        client = await both.relay.client()
        for request in (GET, post(b"hello"), GET):
            await client.send(request)
            worker = both.active.worker.peers[0] if both.active.worker.peers else await both.active.worker.connection()
            await worker.expect(request)
            await worker.send(OK)
            await client.expect(OK)
        assert len(both.connections) == 2, "one lane is always free"
        assert both.lanes.relayed == 3
        assert both.active.records[0].client == "127.0.0.1"
        assert both.relay.records[0].worker == "active"


async def test_many_at_a_time_wait_in_one_queue_with_those_of_the_active() -> None:
    async with pair() as both:
        first, own, second = await both.relay.client(), await both.active.client(), await both.relay.client()
        await first.send(numbered(0))
        worker = await both.active.worker.connection()
        await own.send(numbered(1))
        await queued(both.active, 1)
        await second.send(numbered(2))
        await queued(both.active, 2)
        assert both.relay.proxy.pool.dispatcher.waiting == 0
        await served_in_order(worker, [first, own, second])


async def test_a_body_in_chunks_and_one_that_the_connection_ends() -> None:
    async with pair() as both:
        client = await both.relay.client()
        await client.send(GET)
        worker = await both.active.worker.connection()
        await worker.read_head()
        await worker.send(CHUNKED + b"3\r\nabc\r\n")
        await client.expect(CHUNKED + b"3\r\nabc\r\n")
        await worker.send(b"0\r\n\r\n")
        await client.expect(b"0\r\n\r\n")
        await client.send(GET)
        await worker.read_head()
        until_close = b"HTTP/1.1 200 OK\r\n\r\nto the end"
        await worker.send(until_close)
        await client.expect(until_close)
        worker.close()
        await client.expect_end()


async def test_a_body_that_is_announced_is_asked_for_once() -> None:
    async with pair() as both:
        client = await both.relay.client()
        whole = post(b"body", b"Expect: 100-continue")
        await client.send(whole[:-4])
        await client.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
        await client.send(b"body")
        worker = await both.active.worker.connection()
        await worker.expect(whole)
        await worker.send(OK)
        await client.expect(OK)


async def test_a_websocket() -> None:
    async with pair() as both:
        client = await both.relay.client()
        ask = (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await client.send(ask)
        worker = await both.active.worker.connection()
        await worker.expect(ask)
        switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        await worker.send(switch + b"first")
        await client.expect(switch + b"first")
        await client.send(b"there")
        await worker.expect(b"there")
        await worker.send(b"and back")
        await client.expect(b"and back")
        assert both.relay.proxy.pool.dispatcher.locked == both.active.proxy.pool.dispatcher.locked == 0
        worker.close()
        await client.expect_end()


@pytest.mark.parametrize("leave", ["close", "reset", "end_sending"])
async def test_a_client_that_leaves_its_relay_leaves_the_queue_of_the_active(leave: str) -> None:
    async with pair() as both:
        first, leaving, third = [await both.relay.client() for _ in range(3)]
        await first.send(numbered(0))
        worker = await both.active.worker.connection()
        await leaving.send(numbered(7))
        await queued(both.active, 1)
        getattr(leaving, leave)()
        await queued(both.active, 0)
        await third.send(numbered(1))
        await queued(both.active, 1)
        await served_in_order(worker, [first, third])


async def test_a_client_that_leaves_while_its_worker_is_busy_leaves_it_locked() -> None:
    async with pair() as both:
        leaving, other = await both.relay.client(), await both.relay.client()
        await leaving.send(numbered(7))
        worker = await both.active.worker.connection()
        await worker.expect(numbered(7))
        leaving.reset()
        await both.relay.outcome()
        await other.send(numbered(0))
        await queued(both.active, 1)
        await worker.expect_quiet()
        await worker.send(OK)
        await served_in_order(worker, [other])


async def test_what_an_active_has_not_begun_goes_elsewhere_in_order_whatever_its_method() -> None:
    async with pair() as both:
        busy = await both.relay.client()
        await busy.send(post(b"busy"))
        worker = await both.active.worker.connection()
        await worker.expect(post(b"busy"))
        clients = await sent_in_order(both, 5)
        both.resign()
        await queued(both.relay, 5)
        assert both.active.proxy.pool.dispatcher.waiting == 0
        more = await both.relay.client()
        await more.send(numbered(5))
        await queued(both.relay, 6)
        await worker.send(OK)
        await busy.expect(OK)
        both.lanes.end()
        both.epoch = 2
        both.lanes = both.new_lanes(2)
        both.lanes.open()
        await served_in_order(worker, [*clients, more])


async def test_an_active_of_another_epoch_takes_nothing() -> None:
    async with pair() as both:
        both.epoch = 3
        client = await both.relay.client()
        await client.send(post(b"body"))
        await queued(both.relay, 1)
        both.epoch = 1
        worker = await both.active.worker.connection()  # the relay tries again
        await worker.expect(post(b"body"))
        await worker.send(OK)
        await client.expect(OK)


async def test_a_relay_with_another_token_is_cut_off() -> None:
    async with pair(queue_timeout=0.3) as both:
        both.lanes.end()
        both.lanes = both.new_lanes(1, "other")
        both.lanes.open()
        client = await both.relay.client()
        await client.send(post(b"body"))
        assert (await client.read_answer())[0] == 502
        assert both.connections == []


async def lanes_that_reach_nobody(both: Pair) -> Lanes:
    both.lanes.end()
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return Lanes(both.relay.proxy.pool, "active", "127.0.0.1", port, "t", 1, 0.5)


async def test_while_the_active_cannot_be_reached_requests_wait_for_the_queue_timeout() -> None:
    async with pair(queue_timeout=0.4) as both:
        both.lanes = await lanes_that_reach_nobody(both)
        both.lanes.open()
        client = await both.relay.client()
        await client.send(post(b"body"))
        status, answer = await client.read_answer()
        assert (status, b"No worker became free" in answer) == (503, True)


async def test_of_an_active_that_dies_what_may_be_sent_again_is_and_the_rest_fails() -> None:
    async with pair(workers=2) as both:
        get, put = await both.relay.client(), await both.relay.client()
        await get.send(GET)
        await put.send(post(b"body"))
        first, second = [await worker.connection() for worker in both.active.workers]
        await first.expect(GET)
        await second.expect(post(b"body"))
        for connection in both.connections:
            connection.cut()
        assert (await put.read_answer())[0] == 502
        await first.send(OK)
        await second.send(OK)
        served = asyncio.ensure_future(get.expect(OK))
        peers = [asyncio.ensure_future(answer_next(peer)) for peer in (first, second)]
        await served
        for peer in peers:
            peer.cancel()


async def test_the_time_that_a_request_waited_at_its_relay_counts() -> None:
    async with pair(workers=0, queue_timeout=0.6) as both:
        both.lanes.close()
        client = await both.relay.client()
        began = asyncio.get_running_loop().time()
        await client.send(post(b"body"))
        await asyncio.sleep(0.4)
        both.lanes.open()
        assert (await client.read_answer())[0] == 503
        assert asyncio.get_running_loop().time() - began < 0.9
        assert both.active.records[0].waited > 0.5


async def test_the_relay_keeps_no_time_of_what_its_active_has() -> None:
    async with pair(workers=1, request_timeout=0.2) as both:
        client, other = await both.relay.client(), await both.active.client()
        await other.send(numbered(1))
        worker = await both.active.worker.connection()
        await worker.expect(numbered(1))
        await client.send(numbered(0))
        await queued(both.active, 1)
        # The active replaces a worker that is too slow; here it is removed, and the next request has none.
        assert (await other.read_answer())[0] == 504
        await client.expect_quiet()
        both.active.proxy.pool.fail("Nobody is left.")
        assert (await client.read_answer())[0] == 503


async def test_lanes_that_were_not_needed_lately_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.ha.lanes.TRIM_EVERY", 0.1)
    async with pair(workers=8) as both:
        clients = [await both.relay.client() for _ in range(8)]
        for client in clients:
            await client.send(GET)
        for worker in both.active.workers:
            peer = await worker.connection()
            await peer.expect(GET)
            await peer.send(OK)
        for client in clients:
            await client.expect(OK)
        async with asyncio.timeout(5):
            while both.relay.proxy.pool.dispatcher.size > 1:
                await asyncio.sleep(0.01)


async def test_many_requests_at_an_active_that_dies_are_sent_again_once() -> None:
    async with pair(workers=1) as both:
        clients = [await both.relay.client() for _ in range(8)]
        for client in clients:
            await client.send(GET)
        await queued(both.active, 7)
        worker = await both.active.worker.connection()
        await worker.read_head()
        for connection in both.connections:
            connection.cut()
        served = [asyncio.ensure_future(client.expect(OK)) for client in clients]
        await worker.send(OK)
        for _ in clients:
            await answer_next(worker)
        await asyncio.gather(*served)


async def test_what_the_client_speaks_is_told_by_its_relay() -> None:
    """The link between Faucets is plain, and the active adds nothing."""
    async with pair(tls=True, forwarded=True) as both:
        client = await both.relay.client()
        await client.send(GET)
        worker = await both.active.worker.connection()
        head = await worker.read_head()
        assert b"X-Forwarded-Proto: https\r\nForwarded: for=127.0.0.1;proto=https;host=a\r\n" in head
        assert head.count(b"X-Forwarded-Proto") == 1
        await worker.send(OK)
        await client.expect(OK)


async def test_a_response_that_breaks_off_behind_a_relay_looks_cut_inside_tls() -> None:
    async with pair(tls=True) as both:
        client = await both.relay.client()
        await client.send(GET)
        worker = await both.active.worker.connection()
        await worker.expect(GET)
        await worker.send(CHUNKED + b"5\r\nhello\r\n")
        await client.expect(CHUNKED + b"5\r\nhello\r\n")
        worker.close()
        await client.expect_reset()
