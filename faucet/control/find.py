"""Which runtime is meant: the only one, that on a port, or that at a socket."""

from __future__ import annotations

from pathlib import Path

from faucet.control.client import Client, NoRuntime
from faucet.control.places import known_sockets, socket_path


async def find(which: str | None) -> Client:
    """A connection to the runtime on port `which`, or at the socket `which`, or to the only one. Raises NoRuntime."""
    if which is None:
        return await _only_one()
    if not which.isdecimal():
        return await Client.connect(Path(which))
    path = socket_path(int(which))
    candidates = [path, *(other for other in known_sockets() if other.name.startswith(f"{which}-"))]
    for candidate in candidates:
        try:
            return await Client.connect(candidate)
        except NoRuntime:
            continue
    others = await running()
    raise NoRuntime(f"no Faucet of yours serves on port {which}; {_listed(others)}")


async def running() -> list[tuple[Path, Client]]:
    """Connections to all runtimes of this user, with the paths of their sockets."""
    clients = []
    for path in known_sockets():
        try:
            clients.append((path, await Client.connect(path)))
        except NoRuntime:
            continue  # a socket that a killed runtime has left
    return clients


async def _only_one() -> Client:
    clients = await running()
    if len(clients) == 1:
        return clients[0][1]
    text = _listed(clients)
    for _, client in clients:
        await client.close()
    raise NoRuntime(text)


def _listed(clients: list[tuple[Path, Client]]) -> str:
    if not clients:
        return "no Faucet of yours is running here; start one with `faucet`, or name its socket"
    lines = [f"  {client.greeting.port or path}   {client.greeting.title}, pid {client.greeting.pid}"
             for path, client in clients]  # fmt: skip
    return "there are several; name one by its port:\n" + "\n".join(lines)
