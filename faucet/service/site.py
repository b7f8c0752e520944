"""What a service serves: a directory (`local`, by workers), or a Kubernetes service (`kubernetes`, by its pods)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from faucet.control.server import ControlServer
from faucet.fleet import Fleet
from faucet.log.handler import Log
from faucet.proxy.server import Proxy

Companion = Callable[[Fleet], contextlib.AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def alone(_: Fleet) -> AsyncIterator[None]:
    """Run nothing beside the fleet."""
    yield


def unknown_to_others(_fleet: Fleet, _control: ControlServer) -> None:
    """Connect nothing: this Faucet has no others to talk to."""


@dataclass(frozen=True)
class Site:
    """What is served. `fleet` creates the workers, `companion` the task that runs beside them. `introduce` connects
    the fleet with the control server, if other Faucets take part.
    """

    title: str
    detail: str
    mode: str
    described: str
    fleet: Callable[[Proxy, Log], Fleet]
    companion: Companion = alone
    introduce: Callable[[Fleet, ControlServer], None] = unknown_to_others
