"""Control sockets on another machine: found with a shell command on that machine, reached over SSH channels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from faucet.control.client import NoRuntime
from faucet.control.protocol import MESSAGE_LIMIT
from faucet.net.connect import NoWay, why_not
from faucet.ssh.commands import RemotePrograms
from faucet.ssh.link import Link
from faucet.ssh.login import Login
from faucet.ssh.target import Target

PATIENCE = 10.0
"""Timeout for finding sockets, and for connecting to one, in seconds."""

LIST = """\
for d in "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/faucet" "${TMPDIR:-/tmp}/faucet-$(id -u)" "/tmp/faucet-$(id -u)"; do \
[ -d "$d" ] && [ -O "$d" ] && ls -1d "$d"/*.sock 2>/dev/null; done; true"""
"""Lists the sockets in all directories of `control.paths`. Only desktop and systemd sessions set XDG_RUNTIME_DIR."""


class FarSide:
    """A Place (control.find) on another machine. Its SSH link belongs to the event loop that uses it first."""

    def __init__(self, targets: Sequence[Target], login: Login) -> None:
        self.where = f"on {targets[0]}"
        self._targets = targets
        self._login = login
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def known(self) -> list[Path]:
        """See Place."""
        try:
            link = await self._open()
            result = await RemotePrograms(link).run(["sh", "-c", LIST], PATIENCE)
        except (NoWay, OSError, TimeoutError) as error:
            text = str(error) if isinstance(error, NoWay) else f"cannot look for sockets {self.where}: {why_not(error)}"
            raise NoRuntime(text) from error
        paths = [line for line in result.output.splitlines() if PurePosixPath(line).is_absolute()]
        return [Path(path) for path in dict.fromkeys(paths)]

    async def connect(self, path: Path, named: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See Place."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MESSAGE_LIMIT, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            link = await self._open()
            transport = await link.connect_unix(lambda: protocol, str(path), PATIENCE)
        except (NoWay, TimeoutError) as error:
            raise OSError(str(error) or "no answer") from error
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def close(self) -> None:
        """See Place."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _open(self) -> Link:
        """Open the SSH link if necessary, and return it when it is up. Raises NoWay, OSError."""
        loop = asyncio.get_running_loop()
        if self._link is None or self._loop is not loop:
            link = Link(self._targets, self._login)
            try:
                await link.open()
            except BaseException:
                await link.close()
                raise
            self._link, self._loop = link, loop
        await self._link.wait_up(PATIENCE)
        return self._link
