"""Conversations: limits for endpoints.

What client and worker send and when, and the exact outcome on both sides.
"""

from __future__ import annotations

from faucet.settings import parse_limit
from faucet.status.limits import limit_line, limit_rows
from tests.support.scripted import Peer
from tests.support.talk import GET, OK, OpenStage, lock_is_given_back

REPORT = b"GET /report/1 HTTP/1.1\r\nHost: a\r\n\r\n"


def one_at_once(more: str = "") -> dict[str, object]:
    return {"limit": (parse_limit(f"/report/* at-once=1 {more}"),)}


async def serve(worker: Peer, client: Peer) -> None:
    await worker.send(OK)
    await client.expect(OK)


async def test_quick_requests_pass_reports_that_wait_for_each_other(scripted: OpenStage) -> None:
    stage = await scripted(2, **one_at_once())
    first, second, quick = [await stage.client() for _ in range(3)]
    await first.send(REPORT)
    busy = await stage.workers[0].connection()
    await busy.expect(REPORT)
    await second.send(REPORT)
    await stage.queued(1)
    await quick.send(GET)
    free = await stage.workers[1].connection()
    await free.expect(GET)
    await serve(free, quick)
    await busy.expect_quiet()
    row = limit_rows(stage.proxy.pool)[0]
    assert limit_line(row, row.oldest + 2.5) == (
        "limit /report/*: 1 of 1 at once, 1 of 1024 queued, the first for 2.5s, for one another and not for a worker"
    )
    await serve(busy, first)
    await free.expect(REPORT)  # worker 2 has been free for longer
    await serve(free, second)
    assert limit_rows(stage.proxy.pool)[0][:5] == ("/report/*", 1, 0, 0, 1024)


async def test_a_client_that_leaves_does_not_end_its_report(scripted: OpenStage) -> None:
    """R goes on computing: the next report waits for that."""
    stage = await scripted(2, **one_at_once())
    first, second = [await stage.client() for _ in range(2)]
    await first.send(REPORT)
    worker = await stage.workers[0].connection()
    await worker.expect(REPORT)
    await second.send(REPORT)
    await stage.queued(1)
    first.close()
    await stage.workers[1].expect_no_connection()
    await worker.send(OK)
    other = await stage.workers[1].connection()
    await other.expect(REPORT)
    await serve(other, second)


async def test_the_queue_of_a_limit_is_full_and_says_so(scripted: OpenStage) -> None:
    stage = await scripted(2, **one_at_once("queue=0"))
    first, second = [await stage.client() for _ in range(2)]
    await first.send(REPORT)
    worker = await stage.workers[0].connection()
    await worker.expect(REPORT)
    await second.send(REPORT)
    status, answer = await second.read_answer()
    assert status == 503
    assert b"Retry-After: 1\r\n" in answer
    assert b"At most 1 request for /report/* may be served at once, and at most 0 may wait (--limit)." in answer
    await second.send(GET)
    free = await stage.workers[1].connection()
    await free.expect(GET)
    await serve(free, second)
    await serve(worker, first)
    assert stage.proxy.stats.refusals == {"limit_full": 1}
    assert limit_rows(stage.proxy.pool)[0].refused == 1


async def test_each_limit_has_a_queue_timeout_of_its_own(scripted: OpenStage) -> None:
    """It is shorter than that of those who wait already."""
    stage = await scripted(1, **one_at_once("queue-timeout=100ms"))
    first, patient, second = [await stage.client() for _ in range(3)]
    await first.send(REPORT)
    worker = await stage.worker.connection()
    await worker.expect(REPORT)
    await patient.send(GET)
    await stage.queued(1)
    await second.send(REPORT)
    status, answer = await second.read_answer()
    assert status == 503
    assert b"No other request for /report/* ended within 0.1 s; at most 1 may be served at once (--limit)." in answer
    await serve(worker, first)
    await worker.expect(GET)
    await serve(worker, patient)


async def test_each_limit_has_a_request_timeout_of_its_own(scripted: OpenStage) -> None:
    stage = await scripted(2, request_timeout=60.0, **one_at_once("timeout=100ms"))
    first, second, quick = [await stage.client() for _ in range(3)]
    await quick.send(GET)
    free = await stage.workers[0].connection()
    await free.expect(GET)
    await first.send(REPORT)
    worker = await stage.workers[1].connection()
    await worker.expect(REPORT)
    await second.send(REPORT)
    status, answer = await first.read_answer()
    assert status == 504
    assert b"within 0.1 s" in answer
    assert stage.workers[1].hung
    await serve(free, quick)
    await free.expect(REPORT)  # the lock of the limit has gone with its worker
    await serve(free, second)
    await lock_is_given_back(stage, free)


async def test_a_report_may_take_longer_than_others(scripted: OpenStage) -> None:
    stage = await scripted(1, request_timeout=0.1, **one_at_once("timeout=0"))
    client = await stage.client()
    await client.send(REPORT)
    worker = await stage.worker.connection()
    await worker.expect(REPORT)
    await client.expect_quiet()
    await client.expect_quiet()
    await client.expect_quiet()
    await serve(worker, client)


async def test_a_worker_that_cannot_be_reached_takes_nothing_of_the_limit(scripted: OpenStage) -> None:
    stage = await scripted(2, **one_at_once())
    stage.worker.stop_listening()
    first, second = [await stage.client() for _ in range(2)]
    await first.send(REPORT)
    other = await stage.workers[1].connection()
    await other.expect(REPORT)
    await second.send(REPORT)
    await stage.queued(1)
    await serve(other, first)
    await other.expect(REPORT)
    await serve(other, second)


async def test_who_is_refused_for_another_reason_is_answered_too(scripted: OpenStage) -> None:
    stage = await scripted(1, **one_at_once())
    first, second, third = [await stage.client() for _ in range(3)]
    await first.send(REPORT)
    worker = await stage.worker.connection()
    await worker.expect(REPORT)
    await second.send(REPORT)
    await stage.queued(1)
    stage.proxy.pool.fail("No worker can be started.")
    await third.send(REPORT)
    for client in (second, third):
        status, answer = await client.read_answer()
        assert status == 503
        assert b"No worker can be started." in answer
    await serve(worker, first)
    stage.proxy.pool.outage = ""
    for client in (second, third):
        await client.send(REPORT)  # the connection has stayed
        await worker.expect(REPORT)
        await serve(worker, client)
