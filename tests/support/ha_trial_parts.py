"""The parts of a trial: pods that write down what they did, clients that count what became of each request."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

PATIENCE = 70.0
"""Seconds for one request: longer than any wait that a trial causes."""


class Span(NamedTuple):
    """A pod was at work on one request, by the clock of the hub."""

    began: float
    ended: float
    request: str


def overlaps(history: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of which the second had begun before the first, of all before it the last to end, had ended."""
    found, last = [], Span(0.0, 0.0, "")
    for span in sorted(history):
        if span.began < last.ended:
            found.append((last, span))
        last = max(last, span, key=lambda one: one.ended)
    return found


class Pod:
    """Answers a request after 5 to 30 ms, as one that is alone would, and goes on when its client has left."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.history: list[Span] = []
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, self.address, 8000)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                began = time.monotonic()
                await asyncio.sleep(random.uniform(0.005, 0.03))
                self.history.append(Span(began, time.monotonic(), head.split(b" ")[1].decode()))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def close(self) -> None:
        """End."""
        self._server.close()


@dataclass
class Clients:
    """They send requests at a rate to `targets`, which is what a Service of the cluster would have as its endpoints."""

    rate: float
    targets: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    served: int = 0
    worst: tuple[float, str] = (0.0, "")
    """Seconds, and which request it was."""
    _number: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / self.rate, time.monotonic() - 0.05)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            if self.targets:
                self._number += 1
                task = asyncio.ensure_future(self._one(self._number, random.choice(self.targets)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for all answers."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _one(self, number: int, target: str) -> None:
        method, began = ("GET", "POST")[number % 2], time.monotonic()
        outcome = await self._outcome(method, number, target)
        if outcome == "200":
            self.served += 1
            self.worst = max(self.worst, (time.monotonic() - began, f"/{number}"))
        else:
            self.failures[f"{method} {outcome}"] += 1

    async def _outcome(self, method: str, number: int, target: str) -> str:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(target, 3838)
                writer.write(f"{method} /{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read()
            return answer.split(b" ", 2)[1].decode() if answer else "closed without an answer"
        except OSError as error:
            return type(error).__name__
        finally:
            if writer is not None:
                writer.close()

    def begin(self) -> None:
        """Count anew."""
        self.failures.clear()
        self.served, self.worst = 0, (0.0, "")
