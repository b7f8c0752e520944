"""Slow and hostile clients: they slow nobody down, and cost bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.support.load import fetch, hang_up
from tests.support.running import Faucet, python_worker, resident_memory

Start = Callable[..., Faucet]
MIB = 1 << 20

POST_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


HOSTILE = {
    "a byte now and then": (b"GET /", b"a", 0.05),
    "an endless head": (b"GET / HTTP/1.1\r\n", b"X: " + b"a" * 1000 + b"\r\n", 0.0),
    "an endless request line": (b"GET /", b"a" * 10_000, 0.0),
    "an endless chunk extension": (POST_CHUNKED + b"5;", b"a" * 1000, 0.0),
    "endless trailers": (POST_CHUNKED + b"0\r\n", b"X: a\r\n" * 100, 0.0),
    "tiny chunks": (POST_CHUNKED, b"1\r\na\r\n" * 1000, 0.0),
    "silence": (b"", b"", 1.0),
    "empty lines": (b"", b"\r\n", 0.0),
    "requests ahead, answers unread": (b"", b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n" * 100, 0.0),
}


async def torment(port: int, begin: bytes, again: bytes, pause: float) -> None:
    """Connect, send, and start over whenever we are thrown out."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(begin)
            while True:
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            await asyncio.sleep(0.01)
        finally:
            await hang_up(writer)


@contextlib.asynccontextmanager
async def tormented(port: int, kind: str, count: int) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(torment(port, *HOSTILE[kind])) for _ in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def typical_wait(port: int) -> float:
    """Seconds; the median of 40 requests."""
    times = []
    for _ in range(40):
        began = monotonic()
        assert (await fetch(port, "/quick"))[0] == 200
        times.append(monotonic() - began)
    return sorted(times)[20]


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_clients_slow_nobody_and_cost_little(faucet: Start, kind: str) -> None:
    options = ("--client-timeout", "2s", "--log-level", "error", "--log-file", "log")
    service = faucet("--command", python_worker("counting"), "-w", "3", "--host", "127.0.0.1:0", *options)
    port = await service.listening_port()
    alone = await typical_wait(port)
    before = resident_memory(service.process.pid)
    async with tormented(port, kind, 8):
        await asyncio.sleep(0.5)
        beside = await typical_wait(port)
        after = resident_memory(service.process.pid)
    # The test's own clients share two cores with the service: the bound is for being blocked, not for being busy.
    assert beside < alone * 4 + 0.15
    assert after - before < 40 * MIB


@pytest.mark.slow
async def test_a_thousand_silent_connections(faucet: Start) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", "--client-timeout", "1s").wait_ready()
    alone = await typical_wait(service.port)
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(500)]
    begun = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(500)]
    for sock in begun:
        sock.sendall(b"GET / HTTP/1.1\r\n")
    assert await typical_wait(service.port) < alone * 3 + 0.1
    await asyncio.sleep(1.3)
    for sock in begun:
        assert sock.recv(100).startswith(b"HTTP/1.1 408 ")
    for sock in silent + begun:
        sock.close()


@pytest.mark.slow
async def test_a_burst_of_four_thousand_connections_is_not_refused(faucet: Start) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", "--queue-limit", "5000").wait_ready()
    service.process.send_signal(19)  # SIGSTOP: nobody accepts for a while
    sockets = []
    count = min(4000, int(Path("/proc/sys/net/core/somaxconn").read_text()) - 50)
    for _ in range(count):
        sock = socket.socket()
        sock.settimeout(20)
        sock.connect(("127.0.0.1", service.port))
        sock.sendall(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
        sockets.append(sock)
    service.process.send_signal(18)  # SIGCONT
    for sock in sockets:
        answer = await asyncio.to_thread(sock.recv, 1000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        sock.close()
