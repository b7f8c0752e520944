"""Lines that may be silent for long: read so that a silence is noticed, and reading goes on all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from faucet import tasks


async def with_silence(
    lines: AsyncGenerator[bytes, None], seconds: float, name: str
) -> AsyncGenerator[bytes | None, None]:
    """Yield the lines, and None whenever there has been no line for another `seconds`. Raises what `lines` raises.

    `name` is that of the task that reads. The caller closes `lines`.
    """
    while True:
        reading = tasks.start(_next(lines), name)
        try:
            while not (await asyncio.wait([reading], timeout=seconds))[0]:
                yield None
        finally:
            if not reading.done():
                await tasks.end(reading)
        outcome = reading.result()
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            return
        yield outcome


async def _next(lines: AsyncGenerator[bytes, None]) -> bytes | Exception | None:
    """Return the next line, None at the end, or the error: it is no bug of the task, which would be logged."""
    try:
        return await anext(lines, None)
    except Exception as error:
        return error
