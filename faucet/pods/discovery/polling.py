"""Polling: repeats a lookup every few seconds, sooner on request or by TTL, but never too often."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from time import monotonic

from faucet.pods.discovery.endpoints import Answer, Endpoint, Found

LEAST_PAUSE = 1.0
"""The least seconds between two lookups, regardless of TTLs and requests."""

JITTER = 0.1
"""The largest share by which an interval is shortened at random, so that many instances do not query in step."""


class Polling:
    """A Resolver that calls `lookup` at least every `interval` seconds, and not later than the answer's TTL."""

    by_name = True

    def __init__(
        self, lookup: Callable[[], Awaitable[Answer]], described: str | Callable[[], str], interval: float
    ) -> None:
        self._described = described
        self._lookup = lookup
        self._interval = interval
        self._hurry = asyncio.Event()

    @property
    def described(self) -> str:
        """See Resolver."""
        return self._described if isinstance(self._described, str) else self._described()

    def hurry(self) -> None:
        """Look up again soon."""
        self._hurry.set()

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """See Resolver."""
        while True:
            self._hurry.clear()
            asked = monotonic()
            answer = await self._lookup()
            yield answer
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(answer)):
                    await self._hurry.wait()
            await asyncio.sleep(asked + LEAST_PAUSE - monotonic())

    def _pause(self, answer: Answer) -> float:
        ttl = answer.ttl if isinstance(answer, Found) and answer.ttl is not None else self._interval
        return max(min(self._interval, ttl) * random.uniform(1 - JITTER, 1), LEAST_PAUSE)


class Fixed:
    """A Resolver for one fixed address."""

    by_name = False

    def __init__(self, endpoint: Endpoint) -> None:
        self.described = "one address"
        self._endpoint = endpoint

    def hurry(self) -> None:
        """Do nothing: the address never changes."""

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """See Resolver."""
        while True:
            yield Found((self._endpoint,))
            await asyncio.Event().wait()
