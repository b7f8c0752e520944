"""Which runtime is meant: the only one, that on a port, or that at a socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from faucet.control.client import Client, NobodyThere, NoRuntime
from faucet.control.places import known_sockets, socket_path


@dataclass
class _Found:
    """Who answers, and what is the matter with the others."""

    clients: list[tuple[Path, Client]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def find(which: str | None) -> Client:
    """A connection to the runtime on port `which`, or at the socket `which`, or to the only one. Raises NoRuntime."""
    if which is not None and not which.isdecimal():
        return await Client.connect(Path(which))
    paths = known_sockets()
    if which is not None:
        paths = [path for path in (socket_path(int(which)), *paths) if path.stem.partition("-")[0] == which]
    found = await _connect(paths)
    if len(found.clients) == 1:
        return found.clients[0][1]
    if found.clients:
        text = _listed(found, "there are several; name one by its port")
    elif found.problems:
        text = "\n".join(found.problems)
    elif which is None:
        text = "no Faucet of yours is running here; start one with `faucet`, or name its socket"
    else:
        found = await _connect(known_sockets())
        text = f"no Faucet of yours serves on port {which}{_listed(found, '; there is')}"
    for _, client in found.clients:
        await client.close()
    raise NoRuntime(text)


async def _connect(paths: list[Path]) -> _Found:
    found = _Found()
    for path in dict.fromkeys(paths):
        try:
            found.clients.append((path, await Client.connect(path)))
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
