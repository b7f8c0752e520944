"""All running services of several machines, each with its main figures, for `faucet top`.

Connections are kept between updates. A service that does not answer or has another version is reported as a problem,
and so is a machine that cannot be reached.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from faucet.control.client import Client, NoRuntime, NotListening, Refusal
from faucet.control.find import Place
from faucet.status.snapshot import Service, Totals
from faucet.text import visible_lines

PATIENCE = 3.0
"""Seconds for one service to answer."""


class Summary(NamedTuple):
    """The main figures of a service."""

    service: Service
    totals: Totals
    now: float
    """The current time by the service's clock, in seconds since the epoch."""


class Found(NamedTuple):
    """One service, or the problem that hides it."""

    place: Place
    path: Path | None
    """The control socket; None if the machine could not be searched."""
    summary: Summary | None
    problem: str = ""
    """Why there is no summary."""

    @property
    def host(self) -> str:
        """The name of the machine."""
        return self.place.where.removeprefix("on ")


class Host:
    """The services of one machine."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._clients: dict[Path, Client] = {}

    async def look(self) -> list[Found]:
        """Return the services that are running on the machine, in the order of their sockets."""
        try:
            paths = await self.place.known()
        except NoRuntime as error:
            return [Found(self.place, None, None, visible_lines(str(error)).partition("\n")[0])]
        found = await asyncio.gather(*map(self._ask, dict.fromkeys(paths)))
        return [each for each in found if each is not None]

    async def _ask(self, path: Path) -> Found | None:
        """Return the service at a socket, or a problem; None if no process listens there."""
        try:
            client = self._clients.get(path)
            if client is None or client.closed.done():
                client = self._clients[path] = await Client.connect(path, self.place.connect)
            return Found(self.place, path, summary_of(await client.ask("summary", patience=PATIENCE)))
        except NotListening:
            self._clients.pop(path, None)
            return None  # a stale socket: its service was killed
        except (NoRuntime, Refusal) as error:
            return Found(self.place, path, None, visible_lines(str(error)).partition("\n")[0])

    async def close(self) -> None:
        """Close all connections."""
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()
        await self.place.close()


def summary_of(data: Any) -> Summary:
    """Return the answer to the command `summary` as a Summary. Raises NoRuntime if the service has another version."""
    try:
        return Summary(Service(**data["service"]), Totals(**data["totals"]), float(data["now"]))
    except (TypeError, KeyError, ValueError) as error:
        raise NoRuntime("it is another version of Faucet: use the same one on both sides") from error


async def look_at(hosts: list[Host]) -> list[Found]:
    """Return the services of all `hosts`, which are queried concurrently."""
    return [found for each in await asyncio.gather(*(host.look() for host in hosts)) for found in each]
