"""Conversations: the memory for buffers is spent by clients that do not read, and others have small requests."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from time import monotonic

import pytest

from faucet.proxy.trim import system_trim
from faucet.settings import KIB, MIB
from tests.support.running import Faucet, python_worker, resident_memory
from tests.support.scripted import Peer, Stage
from tests.support.talk import GET, OK, OpenStage


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.proxy.pressure.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("faucet.proxy.pressure.LEAST_SECONDS", 0.3)


def answer(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


async def reader_with(stage: Stage, worker: Peer | None, size: int) -> tuple[Peer, Peer, asyncio.Task[None]]:
    """A client that asks and does not read, its worker, and the sending of the answer."""
    client = await stage.client(receive_buffer=2048)
    await client.send(GET)
    worker = worker or await stage.worker.connection()
    await worker.expect(GET)
    return client, worker, asyncio.ensure_future(worker.send(answer(size)))


async def test_a_small_request_does_not_wait_for_clients_that_do_not_read(
    scripted: OpenStage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("faucet"), "propagate", True)
    stage = await scripted(buffer_total=4 * MIB)
    first, worker, sending = await reader_with(stage, None, 12 * MIB)
    await sending_stalls(sending, stage)
    small = await stage.client()
    began = monotonic()
    await small.send(GET)
    await worker.expect(GET)
    await worker.send(OK)
    await small.expect(OK)
    assert monotonic() - began < 3
    await first.expect_reset()
    async with asyncio.timeout(5):
        while "1 clients that did not read were cut" not in caplog.text:
            await asyncio.sleep(0.01)


async def sending_stalls(sending: asyncio.Task[None], stage: Stage) -> None:
    async with asyncio.timeout(5):
        while not stage.proxy.clients.budget.strained:
            await asyncio.sleep(0.005)
    assert stage.proxy.pool.dispatcher.locked == 1


async def test_those_that_read_are_not_cut(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=8 * MIB, min_rate=0)
    slow, worker, sending = await reader_with(stage, None, 7 * MIB)
    await sending
    await stage.idle()
    steady, _, sending = await reader_with(stage, worker, 30 * MIB)
    await steady.read_head()
    for _ in range(30):
        await asyncio.wait_for(steady.reader.readexactly(MIB), 10)
        await asyncio.sleep(0.03)
    await sending
    await steady.expect_quiet()
    assert list(stage.proxy.clients.budget.holders) == []
    await slow.expect_reset()


async def test_without_pressure_a_slow_reader_stays(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=64 * MIB, min_rate=0)
    client, _, sending = await reader_with(stage, None, 6 * MIB)
    await sending
    await asyncio.sleep(0.8)
    await client.expect(answer(6 * MIB))


async def test_a_body_that_waits_for_memory_gets_it_from_those_that_do_not_read(scripted: OpenStage) -> None:
    stage = await scripted(buffer_total=64 * MIB)
    reader, worker, sending = await reader_with(stage, None, 6 * MIB)
    await sending
    await stage.idle()
    budget = stage.proxy.clients.budget
    assert budget.used > MIB
    budget.total = budget.used + 500 * KIB
    client = await stage.client()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MIB + b"y" * MIB
    await client.send(request)
    await worker.expect(request)
    await worker.send(OK)
    await client.expect(OK)
    await reader.expect_reset()


@pytest.mark.skipif(system_trim() is None, reason="needs malloc_trim, of glibc")
def test_the_memory_of_answers_that_nobody_read_comes_back(faucet: Callable[..., Faucet]) -> None:
    service = faucet("-w", "1", "--command", python_worker("counting"), checked=False).wait_ready()
    before = resident_memory(service.process.pid)
    crowd = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(40)]
    for sock in crowd:
        sock.sendall(b"GET /big?6000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: resident_memory(service.process.pid) > before + 100 * MIB)
    for sock in crowd:
        sock.close()
    wait_until(lambda: resident_memory(service.process.pid) < before + 30 * MIB)


def wait_until(met: Callable[[], bool]) -> None:
    deadline = monotonic() + 20
    while not met():
        assert monotonic() < deadline
        threading.Event().wait(0.1)
