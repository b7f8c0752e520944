"""Conversations: the end.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio

from tests.support.talk import CHUNKED, GET, OK, OpenStage, post


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


async def test_what_is_in_hand_is_answered_when_the_service_ends_at_once(scripted: OpenStage) -> None:
    stage = await scripted(2)
    waiting, reading, begun, left = [await stage.client() for _ in range(4)]
    await waiting.send(GET)
    first = await stage.workers[0].connection()
    await first.expect(GET)
    await begun.send(GET)
    second = await stage.workers[1].connection()
    await second.expect(GET)
    await second.send(CHUNKED)
    await begun.expect(CHUNKED)
    await reading.send(post(b"", length=10))
    left.close()
    await asyncio.sleep(0.05)
    assert not await stage.proxy.drain(0.05)
    assert stage.proxy.abandon("The end.") == 3
    for client in (waiting, reading):
        status, answer = await client.read_answer()
        assert (status, b"The end." in answer) == (503, True)
    await begun.expect_reset()
    assert stage.proxy.pool.dispatcher.locked == 0
    assert sorted((record.status, record.note) for record in stage.records) == [
        (200, "The end."),
        (503, "The end."),
        (503, "The end."),
    ]


async def test_what_nobody_waits_for_any_more_is_not_cut_for_anybody(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    client.reset()
    await asyncio.sleep(0.05)
    assert not await stage.proxy.drain(0.05)
    assert stage.proxy.abandon("The end.") == 0
    assert (await stage.outcome()).status == 499
