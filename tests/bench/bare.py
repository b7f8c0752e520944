"""What no proxy of this kind can be faster than: callbacks, one request per worker, quick ACKs, and nothing else.

It trusts its clients and its workers, keeps no figures, writes no log, and survives nothing. `python -m
tests.bench.bare PORT WORKER_PORT…`: what lies between this and Faucet is what Faucet's promises cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
from collections import deque
from typing import cast

QUICKACK = getattr(socket, "TCP_QUICKACK", None)

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)


class Queue:
    """Free workers, or requests that wait for one."""

    def __init__(self) -> None:
        self.free: deque[Worker] = deque()
        self.waiting: deque[tuple[Client, bytes]] = deque()

    def take(self, client: Client, request: bytes) -> None:
        """Send a request, now or later."""
        if self.free:
            self.free.popleft().send(client, request)
        else:
            self.waiting.append((client, request))

    def give(self, worker: Worker) -> None:
        """A worker has answered."""
        if self.waiting:
            worker.send(*self.waiting.popleft())
        else:
            self.free.append(worker)


class Client(asyncio.Protocol):
    """Each read is taken for a request."""

    transport: asyncio.Transport

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.queue.take(self, data)


class Worker(asyncio.Protocol):
    """Each answer must have a Content-Length."""

    transport: asyncio.Transport

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.client: Client | None = None
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        self.socket = socket.socket(fileno=os.dup(sock.fileno()))
        self.queue.give(self)

    def send(self, client: Client, request: bytes) -> None:
        """Pass a request on."""
        self.client = client
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not end or len(body) < int(length[1] if length else 0):
            if QUICKACK is not None:
                self.socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
            return
        answer, client = self.answer, self.client
        self.answer = b""
        self.queue.give(self)
        if client is not None and not client.transport.is_closing():
            client.transport.write(answer)


async def serve(port: int, workers: list[int]) -> None:
    """Until it is ended."""
    loop, queue = asyncio.get_running_loop(), Queue()
    for worker in workers:
        await loop.create_connection(lambda: Worker(queue), "127.0.0.1", worker)
    server = await loop.create_server(lambda: Client(queue), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    factory = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(int(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
