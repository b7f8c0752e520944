"""The client of the control socket, for `faucet ctl` and the monitor."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from faucet import tasks
from faucet.control.protocol import MESSAGE_LIMIT, PROTOCOL, Message, ProtocolError, decode, encode
from faucet.machine import user_name
from faucet.net.unix_socket import peer_uid
from faucet.text import visible, visible_lines

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATIENCE = 5.0
"""Seconds for a runtime to send its greeting, and to answer a command."""


class NoRuntime(Exception):
    """No running service could be reached, or its protocol version differs. The message is shown to the user."""


class NotListening(NoRuntime):
    """No process listens on the socket, or there is no socket."""


class Refusal(Exception):
    """The runtime refused a command. The message says why."""


class Greeting(NamedTuple):
    """The first message of a runtime: its version, address and title."""

    version: str
    protocol: int
    port: int
    pid: int
    title: str
    url: str
    mode: str


async def open_socket(path: Path, named: bool = True) -> Streams:
    """Return a connection to the control socket at `path`. Raises OSError; PermissionError if another user listens.

    Any user can create a socket in /tmp before the service does, and would then receive the commands. So the listening
    process must belong to the current user or to root. Root may connect to the service of any user, but only at a path
    that the user gave explicitly (`named`).
    """
    reader, writer = await asyncio.open_unix_connection(path, limit=MESSAGE_LIMIT)
    uid, own = peer_uid(writer.get_extra_info("socket")), os.geteuid()
    if uid in (own, 0) or (own == 0 and named):
        return reader, writer
    writer.close()
    owner = "an unknown user" if uid is None else f"user {user_name(uid)}"
    raise PermissionError(errno.EPERM, f"the process that listens there belongs to {owner}, not to you")


class Client:
    """One connection to a runtime. Create it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, greeting: Greeting) -> None:
        self.greeting = greeting
        self.on_message: Callable[[Message], None] = lambda message: None
        """Called with each message that does not answer a command: snapshots, changes, log lines, requests."""
        self.asks_active = False
        """Whether the runtime should forward commands to the active Faucet of a group."""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Completed when the connection has ended."""
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._task = tasks.start(self._read(), "control connection")

    @classmethod
    async def connect(cls, path: Path, open_streams: Callable[[Path], Awaitable[Streams]] = open_socket) -> Client:
        """Return a client connected to the socket at `path`. Raises NoRuntime: NotListening if nothing listens there.

        `open_streams` raises OSError. The text of an OSError without errno is used as the message.
        """
        try:
            streams = await open_streams(path)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NotListening(f"no Faucet listens on {path}" if error.errno else str(error)) from error
        except OSError as error:
            raise NoRuntime(f"cannot connect to {path}: {error.strerror or error}") from error
        return await cls.greet(*streams)

    @classmethod
    async def greet(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float = PATIENCE
    ) -> Client:
        """Wait up to `patience` seconds for the greeting of the runtime, and return a client. Raises NoRuntime."""
        try:
            async with asyncio.timeout(patience):
                greeting = _greeting_of(await reader.readline())
        except (OSError, TimeoutError, ValueError) as error:
            writer.close()
            why = "does not answer" if isinstance(error, TimeoutError) else "is not Faucet, or it is broken"
            raise NoRuntime(f"the process that listens there {why}") from error
        except NoRuntime:
            writer.close()
            raise
        return cls(reader, writer, greeting)

    async def ask(self, do: str, *, patience: float | None = PATIENCE, **arguments: Any) -> Any:
        """Send the command `do` and return its answer, within `patience` seconds (None: wait without limit).

        Raises Refusal, or NoRuntime if the connection is lost or no answer comes in time.
        """
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        if self.asks_active:
            arguments["active"] = True
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

    async def to_active(self) -> None:
        """Have this connection lead to the active Faucet of the group. Raises Refusal or NoRuntime."""
        heard: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def hear(message: Message) -> None:
            if not heard.done():
                heard.set_result(message)

        before, self.on_message = self.on_message, hear
        await self.ask("to-active", patience=2 * PATIENCE)
        either: list[asyncio.Future[Any]] = [heard, self.closed]
        await asyncio.wait(either, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            raise NoRuntime("the active Faucet does not answer; ask it directly")
        self.on_message = before
        self.greeting = _greeting(heard.result())

    async def close(self) -> None:
        """Close the connection, and wait until it is closed."""
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
            if not self.closed.done():  # done already if a waiter was cancelled, which cancels the future
                self.closed.set_result(None)

    def _take(self, message: Message) -> None:
        number = message.get("id")
        if number is None:
            self.on_message(message)
        elif (answer := self._answers.get(number)) is not None and not answer.done():
            if "error" in message:
                answer.set_exception(Refusal(visible_lines(str(message["error"]))))
            else:
                answer.set_result(message.get("ok"))


def _greeting_of(line: bytes) -> Greeting:
    """Raises NoRuntime."""
    try:
        return _greeting(decode(line))
    except ProtocolError as error:
        raise NoRuntime("the process that listens there is not Faucet") from error


def _greeting(message: Message) -> Greeting:
    """Raises NoRuntime."""
    try:
        if "error" in message:
            raise NoRuntime(visible_lines(str(message["error"])))
        version, title, url, mode = (visible(str(message[name])) for name in ("faucet", "title", "url", "mode"))
        protocol, port, pid = (int(message[name]) for name in ("protocol", "port", "pid"))
        greeting = Greeting(version, protocol, port, pid, title, url, mode)
    except (KeyError, TypeError, ValueError) as error:
        raise NoRuntime("the process that listens there is not Faucet") from error
    if greeting.protocol != PROTOCOL:
        raise NoRuntime(
            f"the service (pid {greeting.pid}) is Faucet {greeting.version} with control protocol {greeting.protocol}, "
            f"this one has {PROTOCOL}: use the same version on both sides"
        )
    return greeting
