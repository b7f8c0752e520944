"""Waiting for what nobody tells, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def when(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Until something is so that nobody tells."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
