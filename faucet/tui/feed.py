"""The connection to the runtime: kept up, and made again when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from faucet.backoff import Backoff
from faucet.control.client import Client, NoRuntime, Refusal
from faucet.tui.model import Model

BACKOFF = Backoff(0.25, 5.0)
"""Before the next attempt to connect."""

Connect = Callable[[], Awaitable[Client]]


class Feed:
    """Fills a model. While `reconnect` is set, a lost connection is made again."""

    def __init__(self, model: Model, connect: Connect, hz: float, reconnect: bool) -> None:
        self.model = model
        self.client: Client | None = None
        self._connect = connect
        self._hz = hz
        self.reconnect = reconnect

    async def run(self) -> None:
        """Until the connection is lost for good. Raises NoRuntime if there never was one."""
        failures = 0
        first = True
        while True:
            try:
                await self._watch()
                failures, first = 0, False
            except (NoRuntime, Refusal) as error:
                if first:
                    raise NoRuntime(str(error)) from error
                self.model.link = f"{error}; trying again"
            if not self.reconnect:
                return
            failures += 1
            await asyncio.sleep(BACKOFF.pause(failures))

    async def _watch(self) -> None:
        client = self.client = await self._connect()
        self.model.forget()
        client.on_message = self.model.apply
        try:
            await client.ask("watch", hz=self._hz)
            self.model.link = ""
            await asyncio.wait([client.closed])
        finally:
            self.model.link = "the connection is lost"
            self.client = None
            await client.close()

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Ask the runtime. Raises Refusal, NoRuntime."""
        if self.client is None:
            raise NoRuntime("there is no connection to the service now")
        return await self.client.ask(do, **arguments)
