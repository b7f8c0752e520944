"""Conversations: upgrades.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio

from tests.support.talk import GET, OK, OpenStage, lock_is_given_back

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
