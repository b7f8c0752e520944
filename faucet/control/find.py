"""Find a running service on this or another machine: the only one, the one on a port, or the one at a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from faucet.control.client import Client, NoRuntime, NotListening, Refusal, Streams, open_socket
from faucet.control.neighbours import others
from faucet.control.paths import directory, is_private, known_sockets
from faucet.machine import user_name
from faucet.settings import Which


class Place(Protocol):
    """A machine on which running services can be found."""

    where: str
    """`here`, or `on` and a name, for messages."""

    async def known(self) -> list[Path]:
        """Return the paths of the machine's control sockets, including stale ones. Raises NoRuntime."""
        ...

    async def connect(self, path: Path, named: bool = False) -> Streams:
        """Return a connection to the socket at `path`. `named`: the user gave this path. Raises OSError."""
        ...

    async def close(self) -> None:
        """Release resources, e.g. an SSH connection."""
        ...


class Here:
    """This machine."""

    where = "here"

    async def known(self) -> list[Path]:
        """See Place."""
        return known_sockets()

    async def connect(self, path: Path, named: bool = False) -> Streams:
        """See Place."""
        return await open_socket(path, named)

    async def close(self) -> None:
        """See Place."""


HERE = Here()


@dataclass
class _Found:
    """The services that answered, and a message for each one that failed."""

    clients: list[tuple[Path, Client]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def find_active(which: Which | None, place: Place = HERE) -> Client:
    """Return a client of the active of the group to which the Faucet belongs that `find` finds. Raises NoRuntime."""
    client = await find(which, place)
    try:
        await client.to_active()
    except Refusal as error:
        await client.close()
        raise NoRuntime(str(error)) from error
    except NoRuntime:
        await client.close()
        raise
    return client


async def find(which: Which | None, place: Place = HERE) -> Client:
    """Return a client of the service on the port or at the socket `which`; None: the only one. Raises NoRuntime."""
    if isinstance(which, Path):
        return await Client.connect(which, partial(place.connect, named=True))
    known = await place.known()
    paths = known
    if which is not None:
        paths = [path for path in known if path.stem.partition("-")[0] == str(which)]
    found = await _connect(place, paths)
    if len(found.clients) == 1:
        return found.clients[0][1]
    if found.clients:
        text = _listed(found, "several are running; choose one by its port with --at")
    elif found.problems:
        text = "\n".join(found.problems)
    elif which is None:
        looked = f"for {user_name()} (looked in {directory()})" if place is HERE else place.where
        text = f"no running Faucet found {looked}; start one with `faucet`, or name its socket with --at"
        text += await _elsewhere(known) if place is HERE else ""
    else:
        found = await _connect(place, known)
        text = f"no running Faucet found on port {which}{_listed(found, '; running')}"
        text += await _elsewhere(known) if place is HERE else ""
    for _, client in found.clients:
        await client.close()
    raise NoRuntime(text)


async def _elsewhere(known: list[Path]) -> str:
    """Return lines about what was not searched: a directory that is not private, and services of other users."""
    where, text = directory(), ""
    if not is_private(where):
        text = (
            f"\n{where} is not private to you (owner, mode 0700), so nothing in it is trusted. "
            "If the service there is yours, name its socket with --at."
        )
    return text + await others(known)


async def _connect(place: Place, paths: list[Path]) -> _Found:
    found = _Found()
    for path in dict.fromkeys(paths):
        try:
            found.clients.append((path, await Client.connect(path, place.connect)))
        except NotListening:
            continue  # a stale socket: its runtime was killed
        except NoRuntime as error:
            found.problems.append(f"{path}: {error}")
    return found


def _listed(found: _Found, introduction: str) -> str:
    """Return `introduction` and a line for each service found; empty if no service was found."""
    lines = [
        f"  {client.greeting.port or path}   {client.greeting.title}, pid {client.greeting.pid}"
        for path, client in found.clients
    ]
    return f"{introduction}:\n" + "\n".join(lines) if lines else ""
