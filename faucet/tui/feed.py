"""The monitor's connection to the runtime, with reconnection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from faucet.backoff import Backoff
from faucet.control.client import Client, NoRuntime, Refusal
from faucet.control.protocol import Message
from faucet.control.recording import Recording, Writer
from faucet.status.moments import WINDOW
from faucet.tui.model import Model

BACKOFF = Backoff(0.25, 5.0)
"""Back-off between attempts to reconnect, in seconds."""

Connect = Callable[[], Awaitable[Client]]


class Feed:
    """Keeps a model up to date. While `reconnect` is set, it reconnects when the connection is lost."""

    def __init__(self, model: Model, connect: Connect, hz: float, reconnect: bool) -> None:
        self.model = model
        self.client: Client | None = None
        self.recording = Recording()
        """The messages of the last 15 minutes."""
        self.on_message: Callable[[Message], None] = lambda message: None
        """Also called with each message, e.g. to record it to a file."""
        self._writer = Writer()
        self._connect = connect
        self._hz = hz
        self.window = WINDOW
        """The window of the figures, in seconds. Call `watch` after a change."""
        self.reconnect = reconnect
        self.heard = asyncio.Event()
        """Set when the first snapshot has been received."""

    async def run(self) -> None:
        """Run until the connection is lost for good. Raises NoRuntime if the first attempt to connect fails."""
        failures = 0
        first = True
        while True:
            try:
                await self._watch()
                failures, first = 0, False
            except (NoRuntime, Refusal) as error:
                if first:
                    raise NoRuntime(str(error)) from error
                self.model.link = f"{error}; reconnecting"
            if not self.reconnect:
                return
            failures += 1
            await asyncio.sleep(BACKOFF.pause(failures))

    async def _watch(self) -> None:
        client = self.client = await self._connect()
        self.model.forget()
        client.on_message = self._take
        try:
            await client.ask("watch", hz=self._hz, window=self.window)
            self.model.link = ""
            await asyncio.wait([client.closed])
        finally:
            self.model.link = "connection lost"
            self.client = None
            await client.close()

    def _take(self, message: Message) -> None:
        self.model.apply(message)
        self.recording.add(self._writer.lines(message))
        self.on_message(message)
        if "snapshot" in message:
            self.heard.set()

    async def watch(self) -> None:
        """Subscribe to updates with figures of the window, if there is a connection."""
        with contextlib.suppress(Refusal, NoRuntime):
            await self.ask("watch", hz=self._hz, window=self.window)

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Send a command to the runtime and return its answer. Raises Refusal, NoRuntime."""
        if self.client is None:
            raise NoRuntime("not connected to the service; reconnecting")
        return await self.client.ask(do, **arguments)
