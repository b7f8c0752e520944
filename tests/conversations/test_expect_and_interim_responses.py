"""Conversations: Expect and interim responses.

What client and worker send and when, and the exact outcome on both sides. On the standard loop; `test_end_to_end.py`
runs the program on uvloop.
"""

from __future__ import annotations

import pytest

from tests.support.talk import GET, OK, OpenStage, lock_is_given_back, post


async def test_100_continue_is_ours_once_and_the_workers_is_swallowed(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = post(b"hello", b"Expect: 100-continue")
    await client.send(request[:-5])
    await client.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
    await stage.worker.expect_no_connection()
    await client.send(request[-5:])
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(b"HTTP/1.1 100 Continue\r\nDate: x\r\n\r\n" + OK)
    await client.expect(OK)


@pytest.mark.parametrize(
    "fields",
    [[b"Expect: , 100-Continue ,"], [b"Expect: 100-continue, 100-continue"], [b"Expect: 100-continue"] * 2],
)
async def test_a_list_of_expectations_is_met_with_one_100(scripted: OpenStage, fields: list[bytes]) -> None:
    """RFC 9110, 10.1.1 and 5.6.1. The worker gets them as they came."""
    stage = await scripted()
    client = await stage.client()
    request = post(b"hello", *fields)
    await client.send(request[:-5])
    await client.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
    await client.send(request[-5:])
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_quiet()


async def test_an_empty_expectation_is_none(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = post(b"hello", b"Expect: ,")
    await client.send(request[:-5])
    await client.expect_quiet()
    await client.send(request[-5:])
    worker = await stage.worker.connection()
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)


async def test_another_expectation_reaches_no_worker(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(post(b"hello", b"Expect: 100-continue, 200-ok"))
    assert (await client.read_answer())[0] == 417
    await client.expect_end()
    await stage.worker.expect_no_connection()


async def test_no_100_where_the_body_has_begun_or_for_http_1_0(scripted: OpenStage) -> None:
    stage = await scripted()
    for request in (
        post(b"hello", b"Expect: 100-continue"),
        post(b"hello", b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        client = await stage.client()
        await client.send(request[:-4])
        await client.expect_quiet()
        await client.send(request[-4:])
        worker = await stage.worker.connection()
        await worker.expect(request)
        await worker.send(OK.replace(b"OK", b"OK\r\nConnection: close"))
        worker.close()
        assert (await client.read_answer())[0] == 200


async def test_413_comes_before_100(scripted: OpenStage) -> None:
    stage = await scripted(max_body=4)
    client = await stage.client()
    await client.send(post(b"", b"Expect: 100-continue", length=5))
    status, answer = await client.read_answer()
    assert status == 413
    assert b"application/problem+json" in answer
    await client.expect_end()
    await stage.worker.expect_no_connection()


async def test_interim_responses_are_relayed(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.send(hints)
    await client.expect(hints)
    await worker.send(hints + OK)
    await client.expect(hints + OK)
    await client.send(GET)
    await worker.expect(GET + GET)


async def test_endless_interim_responses(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET.replace(b"1.1", b"1.0"))
    worker = await stage.worker.connection()
    await worker.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 17)
    assert (await client.read_answer())[0] == 502
    worker.close()
    await lock_is_given_back(stage)
