"""Conversations: clients that leave.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post


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
    assert stage.proxy.pool.dispatcher.locked == 1
    await worker.send(OK[:-1])
    await worker.expect_quiet()
    await worker.send(OK[-1:])
    outcome = await stage.outcome()
    assert outcome.status == 499
    assert 0 < outcome.left <= outcome.service
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
    left = await stage.outcome()
    assert (left.status, left.worker, left.service) == (499, "", 0.0)  # no worker has seen anything of it
    assert left.waited > 0
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
    while stage.proxy.pool.dispatcher.waiting + len(stage.records) < 1000:
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
