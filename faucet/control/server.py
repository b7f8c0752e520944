"""The server of the control socket.

A client that can open the socket may run every command, so only the user who runs the service can open it (the
directory has mode 0700, the socket 0600). Input of clients is still untrusted and must not disturb the service: the
length of lines is bounded, malformed lines are answered with an error, and a client that does not read is sent nothing
until it reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections import deque
from pathlib import Path
from time import monotonic
from typing import Any, cast

from faucet import __version__
from faucet.control.commands import NO_OTHERS, Commands, window_of
from faucet.control.paths import PATH_LIMIT, directory, is_private
from faucet.control.protocol import COMMAND_LIMIT, PROTOCOL, Message, ProtocolError, decode, encode
from faucet.control.subscription import Subscriber
from faucet.control.through import FarEnd, reach
from faucet.fleet import Refused
from faucet.net.unix_socket import bind_unix
from faucet.status.collect import Runtime

_log = logging.getLogger("faucet")

UNREAD_LIMIT = 64 * 1024
"""Unread bytes of a client above which no updates are sent to it."""

MOST_HZ, USUAL_HZ = 10.0, 2.0
"""Updates per second for a subscriber: the maximum, and the default."""

MOST_CONNECTIONS = 100
"""Most simultaneous clients. For a further one, an idle client is disconnected; if none is idle, it is refused."""

LINES_AHEAD = 100
"""Lines of a client that may be queued before reading from it is paused."""

SHARE = 0.1
"""Largest share of the event loop's time for commands. The rest is left to the service."""


class ControlError(Exception):
    """The socket cannot be created. The message is shown to the user."""


class ControlServer:
    """The control socket of one runtime, with all its clients."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.commands = Commands(runtime)
        self.path: Path | None = None
        self.connections: set[ControlConnection] = set()
        self._server: asyncio.Server | None = None
        self._owner: ControlConnection | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._next_command = 0.0

    async def open(self, path: Path) -> None:
        """Listen on a Unix socket at `path`. Raises ControlError."""
        sock = bind(path)
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(self._connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        self.path = path

    def _connection(self) -> ControlConnection:
        return ControlConnection(self)

    def connection_from_afar(self) -> ControlConnection:
        """Return the protocol of a client that another Faucet of the group sends here, since this is the active."""
        connection = ControlConnection(self)
        connection.at_active = True
        return connection

    async def own(self, descriptor: int) -> None:
        """Serve the owner over the inherited socket `descriptor`.

        If the owner disconnects without the command `detach`, the service stops.
        """
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_accepted_socket(self._connection, sock)
        self._owner = protocol
        self.runtime.owned = True

    def start_ticking(self) -> None:
        """Update the runtime's statistics now, and then once per second."""
        self._ticker = asyncio.get_running_loop().call_later(1.0, self.start_ticking)
        try:
            self.runtime.tick()
        except Exception:  # later updates may succeed
            _log.exception("updating the statistics of the last minute failed")

    def detach(self, connection: ControlConnection) -> str:
        """Let the owner disconnect without stopping the service. Return the control socket's path. Raises Refused."""
        if connection is not self._owner:
            raise Refused("only the monitor that started the service can detach; others can just disconnect")
        if self.runtime.proxy.pool.draining:
            raise Refused("cannot detach: the service is stopping")
        if self.path is None:
            raise Refused("cannot detach: with --control none there is no control socket to attach to again")
        self._owner = None
        self.runtime.owned = False
        return str(self.path)

    def welcome(self, connection: ControlConnection) -> bool:
        """Accept `connection`, if necessary by disconnecting an idle one. Return whether it was accepted."""
        if len(self.connections) >= MOST_CONNECTIONS:
            idle = next((other for other in self.connections if other.idle and other is not self._owner), None)
            if idle is None:
                return False
            self.connections.discard(idle)
            idle.transport.abort()
        self.connections.add(connection)
        return True

    @property
    def pause(self) -> float:
        """Seconds until the next command may run."""
        return max(self._next_command - monotonic(), 0.0)

    def spent(self, seconds: float) -> None:
        """Account for a command that took `seconds`."""
        self._next_command = max(self._next_command, monotonic()) + seconds * (1 / SHARE - 1)

    def active_changed(self) -> None:
        """Close the connections of clients that want the active: they connect again, and reach the new one."""
        for connection in [connection for connection in self.connections if connection.at_active]:
            connection.close()

    def lost(self, connection: ControlConnection) -> None:
        """Remove a connection that has ended. If it was the owner's, stop the service."""
        self.connections.discard(connection)
        if connection is self._owner:
            self._owner = None
            self.runtime.stop("the monitor is gone", False)

    def close(self) -> None:
        """Stop listening, remove the socket, and close all connections after their last updates."""
        self._owner = None
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            if self.path.parent == directory():
                with contextlib.suppress(OSError):  # the directory contains sockets of other services
                    self.path.parent.rmdir()
        for connection in list(self.connections):
            connection.close()


class ControlConnection(asyncio.Protocol):
    """One client of the control socket."""

    transport: asyncio.Transport

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._scheduled = False  # a call of `_next_line` is scheduled
        self._full = False  # the client does not read its answers
        self._ended = False  # the client has sent EOF
        self.at_active = False
        """Whether the client wants the active Faucet of a group: this one, or that at the far end."""
        self._far: FarEnd | None = None
        self._subscriber: Subscriber | None = None
        self._interval = 1 / USUAL_HZ
        self._timer: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        """Whether the client is no subscriber and has no unanswered command."""
        return self._subscriber is None and not self._lines and not self.at_active

    # -- events ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=UNREAD_LIMIT)
        if not self._server.welcome(self):
            self._send({"error": f"too many clients: {MOST_CONNECTIONS} are connected already"})
            self.transport.close()
            return
        self._greet()

    def _greet(self) -> None:
        service = self._server.runtime.service()
        self._send({"faucet": __version__, "protocol": PROTOCOL, "port": service.port, "pid": service.pid,
                    "title": service.title, "url": service.url, "mode": service.mode})  # fmt: skip

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._far is not None:
            self._far.transport.close()
        self._subscriber = None
        self._lines.clear()
        self._server.lost(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._far is not None:
            self._far.pass_on(data)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines += lines
        if len(self._rest) > COMMAND_LIMIT or any(len(line) > COMMAND_LIMIT for line in lines):
            self._send({"error": f"line too long: at most {COMMAND_LIMIT} bytes are allowed"})
            self.transport.close()
            return
        if len(self._lines) > LINES_AHEAD:
            self.transport.pause_reading()
        self._schedule()

    def eof_received(self) -> bool:
        """Called by the loop: commands already received are still answered."""
        self._ended = True
        return bool(self._lines)

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._full = True
        if self._far is not None:
            self._far.read(on=False)

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._full = False
        if self._far is not None:
            self._far.read(on=True)
        self._schedule()

    # -- commands ----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Schedule the next command for when all clients together are within SHARE of the time."""
        if self._lines and not (self._scheduled or self._full or self.transport.is_closing()):
            self._scheduled = True
            asyncio.get_running_loop().call_later(self._server.pause, self._next_line)

    def _next_line(self) -> None:
        self._scheduled = False
        if not self._lines or self.transport.is_closing():
            return
        began = monotonic()
        self._answer(self._lines.popleft())
        self._server.spent(monotonic() - began)
        if self._lines:
            self._schedule()
        elif self._ended:
            self.transport.close()
        else:
            self.transport.resume_reading()

    def _answer(self, line: bytes) -> None:
        message: Message = {}
        try:
            message = decode(line)
            answer = self._obey(message)
        except (ProtocolError, Refused) as error:
            self._reply(message, {"error": str(error)})
            return
        except Exception:  # the following lines must still be answered
            _log.exception("the command %r failed", message.get("do"))
            self._reply(message, {"error": "the command failed; see the service's log"})
            return
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(lambda done: self._answer_late(message, done))
        else:
            self._reply(message, {"ok": answer})

    def _answer_late(self, message: Message, done: asyncio.Future[str]) -> None:
        if not done.cancelled() and self._far is None:
            error = done.exception()
            self._reply(message, {"ok": done.result()} if error is None else {"error": str(error)})

    def _reply(self, message: Message, answer: Message) -> None:
        number = message.get("id")
        self._send({"id": number, **answer} if isinstance(number, int | str) else answer)

    def _obey(self, message: Message) -> Any:
        spoken = message.get("protocol", PROTOCOL)
        if spoken != PROTOCOL:
            raise Refused(f"this is Faucet {__version__} with control protocol {PROTOCOL}, not {str(spoken)[:20]}: "
                          "use the same version on both sides")  # fmt: skip
        if message.get("do") == "watch":
            return self._watch(message)
        if message.get("do") == "detach":
            return self._server.detach(self)
        if message.get("do") == "to-active":
            return self._to_active(message)
        return self._server.commands.run(message)

    def _to_active(self, message: Message) -> Any:
        """Connect the client to the active Faucet, whose greeting follows the answer. Raises Refused."""
        find = self._server.runtime.way_to_active
        if find is None:
            raise Refused(NO_OTHERS)
        way = find()
        if way is None:  # this is the active
            asyncio.get_running_loop().call_soon(self._greet)
            self.at_active = True
            return "this is the active"

        def made(far: FarEnd) -> None:
            self._far, self.at_active = far, True
            self._reply(message, {"ok": "connected"})

        return asyncio.ensure_future(reach(FarEnd(way, self.transport, made), way))

    def _watch(self, message: Message) -> str:
        hz = message.get("hz", USUAL_HZ)
        if not isinstance(hz, int | float) or isinstance(hz, bool) or not 0 < hz <= MOST_HZ:
            raise Refused(f"invalid `hz`: expected a number up to {MOST_HZ:g}")
        self._interval = 1 / hz
        window = window_of(message)
        if self._subscriber is not None:
            self._subscriber.window = window
        else:
            self._subscriber = Subscriber(self._server.runtime, window)
            self._timer = asyncio.get_running_loop().call_soon(self._tell)
        return "watching"

    def _tell(self) -> None:
        if self._subscriber is None or self.transport.is_closing():
            return
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tell)
        try:
            self._send_updates(self._subscriber)
        except Exception:  # the next update may succeed; the subscriber stays connected
            _log.exception("building an update for a subscriber failed")

    def _send_updates(self, subscriber: Subscriber) -> None:
        if self.transport.get_write_buffer_size() <= UNREAD_LIMIT:
            for message in subscriber.updates():
                self._send(message)

    def _send(self, message: Message) -> None:
        if not self.transport.is_closing():
            self.transport.write(encode(message))

    def close(self) -> None:
        """Send the last updates, and close the connection."""
        if self._subscriber is not None:
            self._send_updates(self._subscriber)
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # the client does not read


def bind(path: Path) -> socket.socket:
    """Return a socket bound to `path` that only this user can open. A stale socket is replaced. Raises ControlError."""
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise ControlError(
            f"the control socket's path {path} is longer than {PATH_LIMIT} bytes; choose a shorter one with --control"
        )
    try:
        try:
            sock = _bound(path)
        except FileNotFoundError:  # the last service in that directory has just removed the directory
            sock = _bound(path)
    except OSError as error:
        raise ControlError(_why_not(path, error)) from error
    sock.setblocking(False)
    return sock


def _bound(path: Path) -> socket.socket:
    """Create the directory, and return a socket bound to `path`. Raises OSError, ControlError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent == directory() and not is_private(path.parent):  # only after mkdir is its owner certain
        raise ControlError(
            f"{path.parent} is not private to you (owner, mode 0700); choose another path with --control"
        )
    return bind_unix(str(path), 0o600)


def _why_not(path: Path, error: OSError) -> str:
    if error.errno == errno.EEXIST:
        return f"{path} exists and is not a socket; choose another path with --control"
    if error.errno == errno.EADDRINUSE:
        return f"another Faucet already listens on {path}; choose another path with --control"
    return (
        f"cannot create the control socket {path}: {error.strerror or error}; "
        "choose another path with --control PATH, or disable it with --control none"
    )
