"""Which runtime is meant: the only one, that on a port, or that at a socket; here, or on another machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from faucet.control.client import Client, NobodyThere, NoRuntime
from faucet.control.paths import known_sockets, socket_path
from faucet.control.protocol import MESSAGE_LIMIT

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place(Protocol):
    """Where runtimes are looked for."""

    where: str
    """`here`, or a name."""

    async def known(self) -> list[Path]:
        """The control sockets there, whether somebody listens or not. Raises NoRuntime."""
        ...

    async def connect(self, path: Path) -> Streams:
        """A connection to one. Raises OSError."""
        ...

    async def close(self) -> None:
        """It is not needed any more."""
        ...


class Here:
    """This machine."""

    where = "here"

    async def known(self) -> list[Path]:
        """See Place."""
        return known_sockets()

    async def connect(self, path: Path) -> Streams:
        """See Place."""
        return await asyncio.open_unix_connection(path, limit=MESSAGE_LIMIT)

    async def close(self) -> None:
        """See Place."""


HERE = Here()


@dataclass
class _Found:
    """Who answers, and what is the matter with the others."""

    clients: list[tuple[Path, Client]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def find(which: str | None, place: Place = HERE) -> Client:
    """A connection to the runtime on port `which`, or at the socket `which`, or to the only one. Raises NoRuntime."""
    if which is not None and not which.isdecimal():
        return await _talk(place, Path(which))
    known = await place.known()
    paths = known
    if which is not None:
        usual = [socket_path(int(which))] if place is HERE else []
        paths = [path for path in (*usual, *known) if path.stem.partition("-")[0] == which]
    found = await _connect(place, paths)
    if len(found.clients) == 1:
        return found.clients[0][1]
    if found.clients:
        text = _listed(found, "there are several; name one by its port")
    elif found.problems:
        text = "\n".join(found.problems)
    elif which is None:
        text = f"no Faucet of yours is running {place.where}; start one with `faucet`, or name its socket"
    else:
        found = await _connect(place, known)
        text = f"no Faucet of yours serves on port {which}{_listed(found, '; there is')}"
    for _, client in found.clients:
        await client.close()
    raise NoRuntime(text)


async def _talk(place: Place, path: Path) -> Client:
    """A connection to the runtime at `path`. Raises NoRuntime."""
    try:
        streams = await place.connect(path)
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise NobodyThere(f"nobody answers at {path}" if place is HERE else str(error)) from error
    except OSError as error:
        raise NoRuntime(f"cannot talk to {path}: {error.strerror or error}") from error
    return await Client.greet(*streams)


async def _connect(place: Place, paths: list[Path]) -> _Found:
    found = _Found()
    for path in dict.fromkeys(paths):
        try:
            found.clients.append((path, await _talk(place, path)))
        except NobodyThere:
            continue  # a killed runtime has left it
        except NoRuntime as error:
            found.problems.append(f"{path}: {error}")
    return found


def _listed(found: _Found, introduction: str) -> str:
    """`introduction`, and a line for each; nothing if there are none."""
    lines = [
        f"  {client.greeting.port or path}   {client.greeting.title}, pid {client.greeting.pid}"
        for path, client in found.clients
    ]
    return f"{introduction}:\n" + "\n".join(lines) if lines else ""
