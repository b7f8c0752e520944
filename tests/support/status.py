"""The status of a running service, by its control socket, and waiting until it is as it should be."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from faucet.control.client import Client
from faucet.control.paths import socket_path
from tests.support.running import Faucet


@asynccontextmanager
async def control(service: Faucet) -> AsyncIterator[Client]:
    """A connection to the control socket of a service that is ready."""
    client = await Client.connect(socket_path(service.port))
    try:
        yield client
    finally:
        await client.close()


async def until(client: Client, described: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until the status is as it should be."""
    status: dict[str, Any] = {}
    for _ in range(400):
        status = await client.ask("status")
        if condition(status):
            return status
        await asyncio.sleep(0.025)
    raise AssertionError(f"not {described}: {status}")


def states(status: dict[str, Any]) -> list[str]:
    """The name and the state of each worker: `1 ready`, …"""
    return [f"{row['name']} {row['state']}" for row in status["workers"]]


def pids(status: dict[str, Any]) -> dict[str, int]:
    """The pids of workers that serve, by name."""
    return {row["name"]: row["pid"] for row in status["workers"] if row["state"] in ("ready", "busy", "held")}


def ready(count: int) -> Callable[[dict[str, Any]], bool]:
    """So many pods, and all in service."""
    return lambda status: Counter(row["state"] in ("ready", "busy") for row in status["workers"]) == {True: count}
