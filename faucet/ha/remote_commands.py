"""Commands for the active that came to another member: one connection for each, by which the answer comes back.

They are those of the control socket. Whoever may connect has the token, so it may as well send requests.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any, cast

from faucet import tasks
from faucet.fleet import Refused
from faucet.pauses import timeout
from faucet.text import to_json

GREETING = b"faucet-command/1 "
"""The first line of such a connection, with the token of the Lease behind it."""

COMMAND_LIMIT = 64 * 1024
ANSWER_LIMIT = 16 * 1024 * 1024

PATIENCE = 10.0
"""Seconds for an answer."""

Run = Callable[[dict[str, Any]], Any]
"""Carries out a command: an answer, or an awaitable of one. Raises Refused."""


class CommandConnection(asyncio.Protocol):
    """The active's end: a line of JSON comes, and one is sent."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # not an instance of it, with uvloop

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        line, end, _ = self._buffer.partition(b"\n")
        if end:
            self._transport.pause_reading()
            tasks.start(self._answer(line), "command from another Faucet")
        elif len(line) > COMMAND_LIMIT:
            self._transport.abort()

    async def _answer(self, line: bytes) -> None:
        try:
            answer = self._run({**json.loads(line), "active": False})
            result = {"ok": await answer if inspect.isawaitable(answer) else answer}
        except Refused as error:
            result = {"error": str(error)}
        except (ValueError, TypeError):
            result = {"error": "that is no command"}
        self._transport.write(to_json(result).encode() + b"\n")
        self._transport.close()


async def ask(host: str, port: int, token: str, command: dict[str, Any]) -> Any:
    """Return what the member at `host` and `port` answers to `command`. Raises Refused."""
    try:
        async with timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_LIMIT)
            try:
                writer.write(GREETING + token.encode() + b"\n" + to_json(command).encode() + b"\n")
                answer = json.loads(await reader.readline())
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError) as error:
        raise Refused(f"the active at {host}:{port} does not answer; try again, or ask it directly") from error
    if "error" in answer:
        raise Refused(str(answer["error"]))
    return answer.get("ok")
