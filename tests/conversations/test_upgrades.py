"""Conversations: upgrades.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.support.scripted import PATIENCE, Peer, Stage
from tests.support.talk import GET, OK, OpenStage, lock_is_given_back

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_a_worker_has_only_so_many_tunnels(scripted: OpenStage) -> None:
    """Each takes an open file of R, which refuses all requests when it has none left."""
    stage = await scripted(max_websockets=2)
    open_ones = []
    for _ in range(2):
        client = await stage.client()
        await client.send(UPGRADE)
        tunnel = await stage.worker.connection()
        await tunnel.expect(UPGRADE)
        await tunnel.send(SWITCH)
        await client.expect(SWITCH)
        open_ones.append((client, tunnel))
    another = await stage.client()
    await another.send(UPGRADE)
    status, answer = await another.read_answer()
    assert status == 503
    assert b"--max-websockets" in answer
    assert stage.proxy.stats.refusals == {"websockets": 1}
    assert [(record.status, record.worker) for record in stage.records[2:]] == [(503, "")]
    await stage.worker.expect_no_connection()
    await lock_is_given_back(stage)
    client, tunnel = open_ones[0]
    client.close()
    await tunnel.expect_end()
    tunnel.close()
    while stage.worker.backend.tunnels > 1:
        await asyncio.sleep(0.005)
    await another.send(UPGRADE)
    await stage.worker.peers[-1].expect(UPGRADE)  # the connection that requests use


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
    while stage.proxy.clients.tunnels:
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


async def open_tunnel(stage: Stage, receive_buffer: int | None = None) -> tuple[Peer, Peer]:
    client = await stage.client(receive_buffer)
    await client.send(UPGRADE)
    tunnel = await stage.worker.connection()
    await tunnel.expect(UPGRADE)
    await tunnel.send(SWITCH)
    await client.expect(SWITCH)
    return client, tunnel


async def no_tunnels(stage: Stage) -> None:
    async with asyncio.timeout(PATIENCE):
        while stage.proxy.clients.tunnels:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("first", ["the end of the connection", "the exit"])
async def test_the_tunnel_of_a_worker_that_has_exited_is_closed_though_its_client_stays(
    scripted: OpenStage, first: str
) -> None:
    """What the worker has said comes first. Whether its connection or its process is seen to end first is chance."""
    stage = await scripted()
    client, tunnel = await open_tunnel(stage)
    await tunnel.send(b"last words")
    if first == "the exit":
        stage.proxy.clients.worker_exited(stage.worker.backend)
        tunnel.close()
    else:
        tunnel.end_sending()
        await client.expect(b"last words")
        await client.expect_end()
        await asyncio.sleep(0.05)
        assert len(stage.proxy.clients.tunnels) == 1, "while it lives it may have ended only its sending side"
        stage.proxy.clients.worker_exited(stage.worker.backend)
    if first == "the exit":
        await client.expect(b"last words")
        await client.expect_end()
    await no_tunnels(stage)


async def test_a_child_of_a_dead_worker_does_not_keep_its_tunnel(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.proxy.tunnel.LAST_WORDS_SECONDS", 0.2)
    stage = await scripted()
    client, tunnel = await open_tunnel(stage)
    other = await stage.client()  # of nobody's tunnel
    stage.proxy.clients.worker_exited(stage.worker.backend)
    await client.expect_gone()
    await tunnel.expect_gone()
    await no_tunnels(stage)
    await other.expect_quiet()


async def test_a_client_that_does_not_read_does_not_keep_the_tunnel_of_a_dead_worker(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faucet.proxy.tunnel.LAST_WORDS_SECONDS", 0.2)
    stage = await scripted()
    _, tunnel = await open_tunnel(stage, receive_buffer=2048)
    sending = asyncio.ensure_future(tunnel.send(b"x" * 20_000_000))
    await asyncio.sleep(0.1)
    stage.proxy.clients.worker_exited(stage.worker.backend)
    await no_tunnels(stage)
    with contextlib.suppress(ConnectionError):
        await sending


async def test_the_tunnel_of_another_worker_stays(scripted: OpenStage) -> None:
    stage = await scripted(2)
    client, tunnel = await open_tunnel(stage)
    stage.proxy.clients.worker_exited(stage.workers[1].backend)
    await tunnel.send(b"on")
    await client.expect(b"on")
    await client.expect_quiet()


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
    await worker.expect(GET)
    await worker.send(SWITCH)
    assert (await client.read_answer())[0] == 502
    await worker.expect_end()
    worker.close()
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
        while stage.proxy.clients.tunnels:
            await asyncio.sleep(0.01)
