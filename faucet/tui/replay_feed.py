"""A recording in place of a connection: no messages arrive, and commands are refused."""

from __future__ import annotations

import asyncio
from typing import Any

from faucet.control.client import NoRuntime, Refusal
from faucet.control.recording import Recording
from faucet.tui.feed import Feed
from faucet.tui.model import Model


async def _no_connection() -> Any:
    raise NoRuntime("this is a recording")


class ReplayFeed(Feed):
    """The feed of a monitor that shows a recording."""

    def __init__(self, model: Model, recording: Recording, hz: float) -> None:
        super().__init__(model, _no_connection, hz, reconnect=False)
        self.recording = recording

    async def run(self) -> None:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Refuse the command: always raises Refusal."""
        raise Refusal("this is a recording; commands need a running service")
