"""Runs programs for their output, e.g. kubectl: here, or on another machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from faucet import pauses
from faucet.text import visible_lines

LINE_LIMIT = 16 << 20
"""Longest line of output, in bytes: an EndpointSlice of 100 endpoints has some 50 KiB."""


class Result(NamedTuple):
    """How a program ended."""

    code: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """The program's message for people (stderr, else stdout), with control characters escaped."""
        return visible_lines((self.errors or self.output).strip())


class Programs(Protocol):
    """Runs programs on one machine."""

    @property
    def where(self) -> str:
        """`here`, or the name of the machine."""
        ...

    async def find(self, program: str) -> bool:
        """Whether `program` is installed."""
        ...

    async def run(self, argv: Sequence[str], patience: float) -> Result:
        """Run a program to its end. Raises OSError. After `patience` seconds, kills it and raises TimeoutError."""
        ...

    def lines(self, argv: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a program's output. Closing the iterator kills the program. Raises OSError if it fails."""
        ...


class LocalPrograms:
    """Runs programs on this machine."""

    where = "here"

    async def find(self, program: str) -> bool:
        """See Programs."""
        return shutil.which(program) is not None

    async def run(self, argv: Sequence[str], patience: float) -> Result:
        """See Programs."""
        async with _started(argv) as process, pauses.timeout(patience):
            output, errors = await process.communicate()
            return Result(process.returncode or 0, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))

    async def lines(self, argv: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """See Programs."""
        async with _started(argv) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            async for line in process.stdout:
                if line.endswith(b"\n"):  # else the line is incomplete, and the exit code shows that
                    yield line
            said = (await process.stderr.read(4096)).decode("utf-8", "replace").strip()
            if await process.wait():
                raise OSError(f"{argv[0]} exited with code {process.returncode}: {said}")


@contextlib.asynccontextmanager
async def _started(argv: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program within the block, and kill it at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # kubectl may be a script that runs the real one
            await process.wait()
