"""Commands for the active that another member has received: one connection for each command and its answer.

They are the commands of the control socket. A peer that can connect has the token, so it could also send requests.
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
"""The start of the first line of such a connection. The token of the Lease follows."""

COMMAND_LIMIT = 64 * 1024
ANSWER_LIMIT = 16 * 1024 * 1024

PATIENCE = 10.0
"""Seconds for an answer."""

Run = Callable[[dict[str, Any]], Any]
"""Runs a command, and returns its answer, or an awaitable of it. Raises Refused."""


class CommandConnection(asyncio.Protocol):
    """The active's end: reads a command as one line of JSON, and sends the answer as another."""

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
            result = {"error": "invalid command"}
        self._transport.write(to_json(result).encode() + b"\n")
        self._transport.close()


async def ask(host: str, port: int, token: str, command: dict[str, Any]) -> Any:
    """Send `command` to the member at `host` and `port`, and return the answer. Raises Refused."""
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
