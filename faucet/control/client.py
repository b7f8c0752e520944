"""The other end of the control socket: for `faucet ctl` and the monitor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from faucet import tasks
from faucet.control.protocol import MESSAGE_LIMIT, PROTOCOL, Message, ProtocolError, decode, encode

PATIENCE = 5.0
"""Seconds for a runtime to greet, and to answer."""


class NoRuntime(Exception):
    """Nobody to talk to, or nobody we understand. The text is for the user."""


class NobodyThere(NoRuntime):
    """A socket that a runtime has left behind, or none at all."""


class Refusal(Exception):
    """The runtime says no. The text says why."""


class Greeting(NamedTuple):
    """Who answers."""

    version: str
    protocol: int
    port: int
    pid: int
    title: str
    url: str
    mode: str


class Client:
    """One connection to a runtime. Make it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, greeting: Greeting) -> None:
        self.greeting = greeting
        self.on_message: Callable[[Message], None] = lambda message: None
        """Called with each message that answers nothing."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._task = tasks.start(self._read(), "control connection")

    @classmethod
    async def connect(cls, path: Path) -> Client:
        """Connect to the socket at `path`. Raises NoRuntime."""
        try:
            streams = await asyncio.open_unix_connection(path, limit=MESSAGE_LIMIT)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NobodyThere(f"nobody answers at {path}") from error
        except OSError as error:
            raise NoRuntime(f"cannot talk to {path}: {error.strerror or error}") from error
        return await cls.greet(*streams)

    @classmethod
    async def greet(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float = PATIENCE
    ) -> Client:
        """Hear who is there, for `patience` seconds. Raises NoRuntime."""
        try:
            async with asyncio.timeout(patience):
                greeting = _greeting(await reader.readline())
        except (OSError, TimeoutError, ValueError) as error:
            writer.close()
            why = "does not answer" if isinstance(error, TimeoutError) else "is no Faucet, or a broken one"
            raise NoRuntime(f"who is there {why}") from error
        except NoRuntime:
            writer.close()
            raise
        return cls(reader, writer, greeting)

    async def ask(self, do: str, *, patience: float | None = PATIENCE, **arguments: Any) -> Any:
        """Ask for something; the answer, waited for so many seconds (None: for ever).

        Raises Refusal, or NoRuntime if the connection is lost.
        """
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        if not self.closed.done():
            self._writer.write(encode({"id": number, "protocol": PROTOCOL, "do": do, **arguments}))
        try:
            async with asyncio.timeout(patience):
                await asyncio.wait([answer, self.closed], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise NoRuntime(f"Faucet (pid {self.greeting.pid}) does not answer") from error
        finally:
            del self._answers[number]
        if not answer.done():
            raise NoRuntime(f"Faucet (pid {self.greeting.pid}) has closed the connection")
        return answer.result()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.wait([self._task])

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(decode(line))
        except (OSError, ValueError, ProtocolError):
            pass
        finally:
            self._writer.close()
            if not self.closed.done():  # whoever waited for it may have been cancelled
                self.closed.set_result(None)

    def _take(self, message: Message) -> None:
        number = message.get("id")
        if number is None:
            self.on_message(message)
        elif (answer := self._answers.get(number)) is not None and not answer.done():
            if "error" in message:
                answer.set_exception(Refusal(message["error"]))
            else:
                answer.set_result(message.get("ok"))


def _greeting(line: bytes) -> Greeting:
    try:
        message = decode(line)
        if "error" in message:
            raise NoRuntime(str(message["error"]))
        greeting = Greeting(str(message["faucet"]), int(message["protocol"]), int(message["port"]),
                            int(message["pid"]), str(message["title"]), str(message["url"]),
                            str(message["mode"]))  # fmt: skip
    except (ProtocolError, KeyError, TypeError, ValueError) as error:
        raise NoRuntime("who answers there is no Faucet") from error
    if greeting.protocol != PROTOCOL:
        raise NoRuntime(
            f"the service (pid {greeting.pid}) is Faucet {greeting.version} and speaks protocol {greeting.protocol}, "
            f"we speak {PROTOCOL}: use the same version on both sides"
        )
    return greeting
