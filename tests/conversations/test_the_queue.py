"""Conversations: the queue.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import asyncio

import pytest

from faucet.proxy.build import COMPILED
from tests.support.talk import GET, OK, OpenStage, post


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


@pytest.mark.skipif(COMPILED, reason="a method of a compiled object cannot be replaced")
async def test_a_refusal_does_not_look_at_all_locks_once_a_mean_is_known(
    scripted: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under an overload there are thousands of refusals a second, and there may be hundreds of locks."""
    stage = await scripted(queue_limit=0)
    first, second = await stage.client(), await stage.client()
    looks: list[str] = []
    dispatcher, leases = stage.proxy.pool.dispatcher, stage.proxy.pool.dispatcher.leases
    monkeypatch.setattr(dispatcher, "leases", lambda: looks.append("look") or leases())
    for known in (False, True):
        await first.send(GET)
        if not known:
            worker = await stage.worker.connection()
        await worker.expect(GET)
        await second.send(GET)
        assert (await second.read_answer())[0] == 503
        assert len(looks) == 1, f"a mean is known: {known}"
        await worker.send(OK)
        await first.expect(OK)


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
        stage.proxy.pool.hold(worker.backend)
    client = await stage.client()
    await client.send(GET)
    await client.expect_quiet()
    stage.proxy.pool.resume(stage.workers[1].backend)
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


async def test_an_operator_ends_the_waiting_of_one_request_and_no_other(scripted: OpenStage) -> None:
    stage = await scripted()
    first, second, third = [await stage.client() for _ in range(3)]
    await first.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    for client in (second, third):
        await client.send(GET)
        await client.expect_quiet()
    pool = stage.proxy.pool
    holder, _ = next(pool.dispatcher.queue())
    pool.cancel(holder)
    status, answer = await second.read_answer()
    assert status == 503
    assert b"An operator of the service has ended this request" in answer
    assert pool.stats.refusals == {"cancelled": 1}
    await worker.send(OK)
    await first.expect(OK)
    await worker.expect(GET)
    pool.cancel(holder)  # it is over
    await worker.send(OK)
    await third.expect(OK)
    await second.send(GET)
    await worker.expect(GET)
    await worker.send(OK)
    await second.expect(OK)
