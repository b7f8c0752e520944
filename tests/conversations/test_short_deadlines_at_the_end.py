"""Conversations: the end does not wait for clients that have begun something and do not go on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic

import pytest

from tests.support.running import Faucet, python_worker
from tests.support.scripted import Peer, Stage
from tests.support.talk import GET, OK, OpenStage, post

LONG = 60.0


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.proxy.clients.DRAIN_SECONDS", 0.4)


async def drained(stage: Stage) -> float:
    """Seconds until everything was finished."""
    began = monotonic()
    assert await stage.proxy.drain(LONG)
    return monotonic() - began


async def test_half_a_head(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(b"GET / ")
    await asyncio.sleep(0.05)
    draining = asyncio.ensure_future(drained(stage))
    status, answer = await client.read_answer()
    assert (status, b"shutting down" in answer) == (503, True)
    await client.expect_end()
    client.close()
    assert await draining < 2
    assert stage.proxy.clients.cut_while_draining == 0, "it was not in hand"


async def test_half_a_head_and_another_byte_now_and_then(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(b"GET / HTTP/1.1\r\nX: ")
    await asyncio.sleep(0.05)
    draining = asyncio.ensure_future(drained(stage))
    for _ in range(3):
        await client.send(b"x" * 500)
        await asyncio.sleep(0.1)
    assert (await client.read_answer())[0] == 503
    client.close()
    assert await draining < 2


async def test_a_head_that_is_completed_in_time_is_answered(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET[:6])
    await asyncio.sleep(0.05)
    draining = asyncio.ensure_future(drained(stage))
    await asyncio.sleep(0.05)
    await client.send(GET[6:])
    assert (await client.read_answer())[0] == 503
    client.close()
    await draining


async def test_half_a_body(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(post(b"123456", length=20))
    await asyncio.sleep(0.05)
    draining = asyncio.ensure_future(drained(stage))
    assert (await client.read_answer())[0] == 503
    client.close()
    assert await draining < 2
    await stage.worker.expect_no_connection()
    assert stage.proxy.stats.refusals == {"shutdown": 1}


async def test_a_body_that_arrives_in_time_is_served(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    request = post(b"x" * 20)
    await client.send(request[:-5])
    await asyncio.sleep(0.05)
    draining = asyncio.ensure_future(drained(stage))
    await asyncio.sleep(0.05)
    await client.send(request[-5:])
    worker = await stage.worker.connection()
    await worker.expect(request)
    await asyncio.sleep(1.0)  # the worker may take its time
    assert not draining.done()
    await worker.send(OK)
    await client.expect(OK)
    await client.expect_end()
    client.close()
    await draining


async def stalls_within_a_streamed_body(stage: Stage) -> tuple[Peer, Peer]:
    client = await stage.client()
    request = post(b"x" * 2000, length=1_000_000)
    await client.send(request)
    worker = await stage.worker.connection()
    await worker.expect(request)
    return client, worker


@pytest.mark.parametrize("client_timeout", [0, 60])
async def test_a_streamed_body_that_does_not_go_on(scripted: OpenStage, client_timeout: float) -> None:
    stage = await scripted(buffer_request=1000, client_timeout=client_timeout)
    client, worker = await stalls_within_a_streamed_body(stage)
    draining = asyncio.ensure_future(drained(stage))
    assert (await client.read_answer())[0] == 408
    await worker.expect_end()
    worker.close()
    client.close()
    assert await draining < 2
    assert stage.proxy.clients.cut_while_draining == 1


async def test_a_streamed_body_that_goes_on_is_served(scripted: OpenStage) -> None:
    stage = await scripted(buffer_request=1000)
    client, worker = await stalls_within_a_streamed_body(stage)
    draining = asyncio.ensure_future(drained(stage))
    for _ in range(10):
        await client.send(b"x" * 1000)
        await worker.expect(b"x" * 1000)
        await asyncio.sleep(0.1)
    await client.send(b"x" * (1_000_000 - 12_000))
    await worker.expect(b"x" * (1_000_000 - 12_000))
    await worker.send(OK)
    await client.expect(OK)
    client.close()
    assert await draining > 1
    assert stage.proxy.clients.cut_while_draining == 0


async def test_a_reader_that_does_not_read(scripted: OpenStage) -> None:
    """The worker is done; what is left is the client's. It is cut, since half an answer must not look whole."""
    stage = await scripted()
    client = await stage.client(receive_buffer=2048)
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000)
    await stage.idle()
    assert await drained(stage) < 2
    await client.expect_reset()
    assert stage.proxy.clients.cut_while_draining == 1


async def test_a_reader_that_reads_slowly_gets_everything(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client(receive_buffer=4096)
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000
    await worker.send(answer)
    await stage.idle()
    draining = asyncio.ensure_future(drained(stage))
    for begin in range(0, 900_000, 100_000):
        await client.expect(answer[begin : begin + 100_000])
        await asyncio.sleep(0.15)
    assert not draining.done()
    await client.expect(answer[900_000:])
    client.close()
    assert await draining > 1
    assert stage.proxy.clients.cut_while_draining == 0


@pytest.mark.slow
def test_six_bytes_do_not_delay_the_end_of_the_program(faucet: Callable[..., Faucet]) -> None:
    service = faucet("-w", "1", "--command", python_worker("counting"), "--shutdown-timeout", "60").wait_ready()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"GET / ")
        began = monotonic()
        assert service.stop(seconds=15) == 0
        assert monotonic() - began < 10
        assert client.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert "every request in flight was finished" in service.output


@pytest.mark.slow
def test_a_reader_that_does_not_read_is_cut_and_counted(faucet: Callable[..., Faucet]) -> None:
    service = faucet("-w", "1", "--command", python_worker("counting"), "--shutdown-timeout", "60").wait_ready()
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"GET /big?20000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(9) == b"HTTP/1.1 "
        assert service.stop(seconds=15) == 3
    assert "1 request in flight was cut" in service.output
