"""The parts of a trial: pods that write down what they did, clients that note what became of each request."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.ha_trial_judge import CUT_SHORT, WRONG, Failure, Span

PATIENCE = 70.0
"""Seconds for one request: longer than any wait that a trial causes."""


class Pod:
    """Answers a request after 5 to 30 ms, as one that is alone would, and goes on when its client has left.

    Each fourth answer comes in two parts, so that a Faucet may die between them.
    """

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name
        self.history: list[Span] = []
        self._at_work: dict[asyncio.Task[None], tuple[float, str]] = {}
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, self.address, 8000)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):  # see die
                while head := await reader.readuntil(b"\r\n\r\n"):
                    await self._answer(head.split(b" ")[1].decode(), writer)
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, request: str, writer: asyncio.StreamWriter) -> None:
        with self._work_on(request):
            await asyncio.sleep(random.uniform(0.005, 0.03))
            content = request.encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
            if random.random() < 0.25:
                writer.write(head + content[:1])
                await asyncio.sleep(0.01)
                content, head = content[1:], b""
        writer.write(head + content)

    @contextlib.contextmanager
    def _work_on(self, request: str) -> Iterator[None]:
        task, began = asyncio.current_task(), time.monotonic()
        assert task is not None
        self._at_work[task] = (began, request)
        try:
            yield
        finally:
            del self._at_work[task]
            self.history.append(Span(began, time.monotonic(), request))

    @property
    def is_busy(self) -> bool:
        """Whether it is at work."""
        return bool(self._at_work)

    async def close(self) -> None:
        """End, when there is nothing to do any more."""
        while self.is_busy:
            await asyncio.sleep(0.01)
        self.die()

    def die(self) -> None:
        """End at once: what it was at work on is not answered."""
        self._server.close()
        for task in list(self._at_work):
            task.cancel()
        for writer in list(self._connections):
            writer.transport.abort()


@dataclass
class Clients:
    """They send requests at a rate to `targets`, which is what a Service of the cluster would have as its endpoints."""

    rate: float
    address: str
    """Where they are."""
    targets: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    posts: set[str] = field(default_factory=set)
    served: int = 0
    longest: tuple[float, str] = (0.0, "")
    """Seconds, and which request it was."""
    resting: bool = False
    """Whether they send nothing for now."""
    _number: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / self.rate, time.monotonic() - 0.05)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            if self.targets and not self.resting:
                self._number += 1
                task = asyncio.ensure_future(self._one(self._number, random.choice(self.targets)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for the answers to all that has been asked."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _one(self, number: int, target: str) -> None:
        method, request, began = ("GET", "POST")[number % 2], f"/{number}", time.monotonic()
        if method == "POST":
            self.posts.add(request)
        outcome = await self._outcome(method, request, target)
        ended = time.monotonic()
        if outcome == "200":
            self.served += 1
            self.longest = max(self.longest, (ended - began, request))
        else:
            self.failures.append(Failure(request, method, outcome, target, began, ended))

    async def _outcome(self, method: str, request: str, target: str) -> str:
        writer: asyncio.StreamWriter | None = None
        got = bytearray()
        ended = "closed"
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(target, 3838, local_addr=(self.address, 0))
                writer.write(f"{method} {request} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                while not is_whole(got) and (part := await reader.read(65536)):
                    got += part
        except OSError as error:
            ended = type(error).__name__
        finally:
            if writer is not None:
                writer.transport.abort()
        return outcome(bytes(got), request, ended)

    async def begin(self) -> None:
        """Rest until all is answered, then count anew."""
        self.resting = True
        await self.settle()
        self.resting = False
        self.failures.clear()
        self.posts.clear()
        self.served, self.longest = 0, (0.0, "")


def is_whole(got: bytes) -> bool:
    """Whether an answer has come to its end. All answers of pods and Faucets have a length."""
    head, blank, content = got.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(blank) and length is not None and len(content) >= int(length[1])


def outcome(got: bytes, request: str, ended: str) -> str:
    """Return what became of a request: 200 only if its own answer came whole. `ended`: how the connection did."""
    if not got:
        return ended
    head, blank, content = got.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode() if head.count(b" ") > 1 else ""
    if status != "200":
        return status or CUT_SHORT
    if blank and content == request.encode():
        return status
    return CUT_SHORT if request.encode().startswith(content) else WRONG
