"""Clients: single requests, a load that counts its answers, and crowds that misbehave at random."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import subprocess
from collections import Counter
from time import monotonic
from typing import Any

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and content of a response that has a Content-Length. Raises IncompleteReadError."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    return int(head.split(b" ")[1]), await reader.readexactly(length)


async def fetch(port: int, target: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        writer.write(head.encode() + body)
        return await read_response(reader)
    finally:
        await hang_up(writer)


async def hang_up(writer: asyncio.StreamWriter, reset: bool = False) -> None:
    """Close a connection, with a FIN or a reset."""
    if reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Crowd:
    """Clients that keep a service busy; a third of their requests are abandoned at a random moment."""

    def __init__(self, port: int, seed: int = 0) -> None:
        self.port = port
        self.statuses: dict[int, int] = {}
        self.abandoned = 0
        self.broken = 0
        self._left = 0
        self._source = random.Random(seed)

    async def run(self, clients: int, requests: int) -> None:
        """`requests` requests by `clients` clients at once."""
        self._left = requests
        await asyncio.gather(*(self._client() for _ in range(clients)))

    async def _client(self) -> None:
        while self._left > 0:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await self._conversation(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.broken += 1
            finally:
                await hang_up(writer, reset=self._source.random() < 0.5)

    async def _conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self._source.randint(1, 20)):
            if self._left <= 0:
                return
            self._left -= 1
            request = self._request()
            if self._source.random() < 1 / 3:
                await self._abandon(request, reader, writer)
                return
            writer.write(request)
            status, _ = await read_response(reader)
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def _request(self) -> bytes:
        if self._source.random() < 0.5:
            return GET
        body = self._source.randbytes(self._source.randint(1, 20_000))
        return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def _abandon(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Before the head is complete, during the body, while waiting, or during the answer."""
        self.abandoned += 1
        match self._source.randrange(4):
            case 0:
                writer.write(request[: self._source.randint(1, len(GET) - 1)])
            case 1:
                writer.write(request[: self._source.randint(1, len(request))])
            case 2:
                writer.write(request)
                await asyncio.sleep(self._source.uniform(0, 0.01))
            case _:
                writer.write(request)
                await reader.read(self._source.randint(1, 60))


PAUSE = 0.02
"""Seconds between two requests of a client: at any moment one may come, and what is restarted has the CPU to start."""


SOME = 4
"""Requests without which there was no load."""


class Load:
    """Requests one after the other, of which none may fail."""

    def __init__(self, port: int, clients: int, pause: float = PAUSE) -> None:
        self.served = 0
        self.failed: list[Any] = []
        self._pause = pause
        self._tasks = [asyncio.ensure_future(self._client(port)) for _ in range(clients)]
        self._ends = False

    async def _client(self, port: int) -> None:
        while not self._ends or (self.served < SOME and not self.failed):
            try:
                status, body = await fetch(port, "/")
            except OSError as error:
                self.failed.append(error)
                continue
            self.served += 1
            if status != 200:
                self.failed.append((status, body))
            await asyncio.sleep(self._pause)

    async def end(self) -> None:
        """No more, once there were some; none has failed."""
        self._ends = True
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)
        assert self.failed == []


class Stream:
    """Clients that ask without a pause, each with a connection of its own for each request; counts what comes back."""

    def __init__(self, port: int, clients: int, target: str = "/sleep?0.01", method: str = "GET") -> None:
        self.statuses: Counter[int] = Counter()
        self.bodies: Counter[str] = Counter()
        self.longest = 0.0
        self._ended = False
        self._tasks = [asyncio.ensure_future(self._client(port, target, method)) for _ in range(clients)]

    async def _client(self, port: int, target: str, method: str) -> None:
        while not self._ended:
            began = monotonic()
            status, body = await fetch(port, target, method, b"x" if method == "POST" else b"")
            self.longest = max(self.longest, monotonic() - began)
            self.statuses[status] += 1
            self.bodies[body.decode() if status == 200 else str(status)] += 1

    async def reach(self, count: int) -> None:
        """Wait for so many more answers."""
        goal = self.statuses.total() + count
        async with asyncio.timeout(30):
            while self.statuses.total() < goal:
                await asyncio.sleep(0.01)
                for task in self._tasks:
                    if task.done():
                        task.result()

    async def end(self) -> None:
        """After the answers that are awaited now."""
        self._ended = True
        await asyncio.gather(*self._tasks)


def get(port: int, target: str) -> tuple[int, str]:
    """Status and content, by curl."""
    done = subprocess.run(
        ["curl", "-s", "-w", "\n%{http_code}", f"http://127.0.0.1:{port}{target}"],
        capture_output=True,
        text=True,
        check=True,
    )
    content, _, status = done.stdout.rpartition("\n")
    return int(status), content
