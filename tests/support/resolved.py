"""What resolvers answer, while they go on by themselves as in a service; and two endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from faucet.pods.discovery.endpoints import Answer, Endpoint, Resolver

A, B = Endpoint("10.0.0.1", 8000), Endpoint("10.0.0.2", 8000)


@asynccontextmanager
async def heard(resolver: Resolver) -> AsyncIterator[AsyncIterator[Answer]]:
    """What it says, while it goes on by itself, as it does in a service."""
    said: asyncio.Queue[Answer | Exception] = asyncio.Queue()

    async def listen() -> None:
        try:
            async with aclosing(resolver.answers()) as answers:
                async for answer in answers:
                    said.put_nowait(answer)
        except Exception as error:
            said.put_nowait(error)

    async def tell() -> AsyncIterator[Answer]:
        while True:
            async with asyncio.timeout(15):
                answer = await said.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer

    listening = asyncio.ensure_future(listen())
    try:
        yield tell()
    finally:
        listening.cancel()
        await asyncio.wait([listening])
