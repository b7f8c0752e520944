"""Runs programs on the bastion. They end when the connection does, which remote commands by themselves do not."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import asyncssh

from faucet import pauses
from faucet.net.commands import Result
from faucet.net.connect import LinkDown
from faucet.ssh.link import Link

_WATCHED = (
    "exec 3<&0; {} </dev/null 3<&- & p=$!; (while read -r _; do :; done <&3; kill $p 2>/dev/null) & w=$!; "
    "exec 3<&-; wait $p; c=$?; kill $w 2>/dev/null; exit $c"
)
"""Runs a command, and kills it when standard input ends, as it does when the connection is lost. Through descriptor 3,
since a shell gives /dev/null to background commands; by `read`, which leaves no process behind."""


class RemotePrograms:
    """Runs programs on the bastion of `link` (see net.commands.Programs)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def where(self) -> str:
        """The bastion."""
        return str(self._link.target)

    async def find(self, program: str) -> bool:
        """Whether `program` is installed there. Raises LinkDown."""
        try:
            result = await self.run(["sh", "-c", f"command -v {shlex.quote(program)}"], 10.0)
        except LinkDown:
            raise
        except (OSError, TimeoutError):
            return False
        return result.code == 0

    async def run(self, argv: Sequence[str], patience: float) -> Result:
        """Run a program to its end. Raises OSError, or TimeoutError after `patience` seconds."""
        async with self._started(argv) as process, pauses.timeout(patience):
            output, errors = await asyncio.gather(process.stdout.read(), process.stderr.read())
            return Result(await self._code(process), _text(output), _text(errors))

    async def lines(self, argv: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a program's output; it is killed with the iterator. Raises OSError if it fails."""
        async with self._started(argv) as process:
            async for line in process.stdout:
                if line.endswith(b"\n"):
                    yield line
            errors = await process.stderr.read(4096)
            if code := await self._code(process):
                raise OSError(f"{argv[0]} on {self.where} exited with code {code}: {_text(errors).strip()}")

    @contextlib.asynccontextmanager
    async def _started(self, argv: Sequence[str]) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        """Run a program within the block; it is killed at its end. Errors of asyncssh become OSErrors."""
        process = await self.converse(_watched(argv))
        try:
            yield process
        except asyncssh.Error as error:
            raise _as_os_error(error) from error
        finally:
            process.channel.abort()

    async def _code(self, process: asyncssh.SSHClientProcess[bytes]) -> int:
        """Return the exit code. Raises OSError if the connection was lost before it came."""
        await process.wait_closed()
        if process.exit_status is None:
            raise ConnectionResetError(f"the connection to {self.where} was lost")
        return process.exit_status

    async def converse(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """Start a program with open pipes and return it. Raises OSError."""
        connection = self._link.connection()
        try:
            return await connection.create_process(command, encoding=None, request_pty=False)
        except asyncssh.Error as error:
            raise _as_os_error(error) from error


def _watched(argv: Sequence[str]) -> str:
    return f"sh -c {shlex.quote(_WATCHED.format(shlex.join(argv)))}"


def _as_os_error(error: asyncssh.Error) -> OSError:
    if isinstance(error, asyncssh.ChannelOpenError):
        return PermissionError(f"the bastion does not allow running programs: {error.reason}")
    return OSError(str(error))


def _text(data: bytes | str | None) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data or ""
