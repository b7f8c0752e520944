"""Programs on the bastion. Each ends with us: by itself a remote command goes on when its connection is gone."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Sequence

import asyncssh

from faucet.net.programs import Result
from faucet.net.ssh.link import Link

_WATCHED = "{} & p=$!; (cat >/dev/null; kill $p 2>/dev/null) & w=$!; wait $p; c=$?; kill $w 2>/dev/null; exit $c"
"""Runs a command and ends it when standard input does, as it does when the connection is lost."""


class RemotePrograms:
    """Runs programs on the bastion of `link` (see net.programs.Programs)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def where(self) -> str:
        """The bastion."""
        return str(self._link.target)

    async def find(self, program: str) -> bool:
        """Whether there is such a program."""
        try:
            result = await self.run(["command", "-v", program], 10.0)
        except (OSError, TimeoutError):
            return False
        return result.code == 0

    async def run(self, argv: Sequence[str], patience: float) -> Result:
        """Run to the end. Raises OSError, TimeoutError."""
        process = await self._start(shlex.join(argv))
        try:
            async with asyncio.timeout(patience):
                output, errors = await process.communicate()
        except (asyncssh.Error, OSError) as error:
            raise _as_os_error(error) from error
        finally:
            process.channel.abort()
        if process.exit_status is None:
            raise ConnectionResetError(f"the connection to {self.where} was lost")
        return Result(process.exit_status, _text(output), _text(errors))

    async def lines(self, argv: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The lines it writes, until it ends; it is ended with the iterator. Raises OSError if it ends badly."""
        process = await self._start(f"sh -c {shlex.quote(_WATCHED.format(shlex.join(argv)))}")
        try:
            async for line in process.stdout:
                if line.endswith(b"\n"):
                    yield line
            errors = await process.stderr.read(4096)
            await process.wait_closed()
        except (asyncssh.Error, OSError) as error:
            raise _as_os_error(error) from error
        finally:
            process.channel.abort()
        if process.exit_status is None:
            raise ConnectionResetError(f"the connection to {self.where} was lost")
        if process.exit_status:
            raise OSError(f"{argv[0]} on {self.where} ended with code {process.exit_status}: {_text(errors).strip()}")

    async def converse(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """A program that is talked to. Raises OSError."""
        return await self._start(command)

    async def _start(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        connection = self._link.connection()
        try:
            return await connection.create_process(command, encoding=None)
        except (asyncssh.Error, OSError) as error:
            raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, asyncssh.ChannelOpenError):
        return PermissionError(f"the bastion runs no programs for us: {error.reason}")
    return error if isinstance(error, OSError) else OSError(str(error))


def _text(data: bytes | str | None) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data or ""
