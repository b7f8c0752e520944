"""The runtime's end of the control socket.

Whoever may open the socket may do everything: it is for the user who runs the service, and for nobody else (the
directory is 0700, the socket 0600). What comes over it may still be anything, and must not disturb the service: lines
are bounded, broken ones are answered with an error, and a client that does not read is told nothing until it does.
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
from faucet.control.commands import Commands
from faucet.control.paths import PATH_LIMIT, directory, is_private
from faucet.control.protocol import COMMAND_LIMIT, PROTOCOL, Message, ProtocolError, decode, encode
from faucet.control.subscription import Viewer
from faucet.fleet import Refused
from faucet.net.unix_socket import bind_unix
from faucet.status.collect import Runtime

_log = logging.getLogger("faucet")

UNREAD_LIMIT = 64 * 1024
"""Bytes that a client may leave unread before it is told nothing more."""

MOST_HZ, USUAL_HZ = 10.0, 2.0
"""How often a viewer may be told something in a second."""

MOST_CONNECTIONS = 100

LINES_AHEAD = 100
"""Lines that a client may send before they are looked at."""

SHARE = 0.1
"""Of the time that commands may take, if there are many: the service has the rest."""


class ControlError(Exception):
    """The socket cannot be made. The text is for the user."""


class ControlServer:
    """Everybody who watches or steers a runtime."""

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
        """Listen at `path`. Raises ControlError."""
        sock = bind(path)
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(self._connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        self.path = path

    def _connection(self) -> ControlConnection:
        return ControlConnection(self)

    async def own(self, descriptor: int) -> None:
        """Talk to the owner, over an inherited socket. When it goes without a `detach`, the service ends."""
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_accepted_socket(self._connection, sock)
        self._owner = protocol
        self.runtime.owned = True

    def start_ticking(self) -> None:
        """Keep the last minute."""
        self._ticker = asyncio.get_running_loop().call_later(1.0, self.start_ticking)
        try:
            self.runtime.tick()
        except Exception:  # the next second is counted all the same
            _log.exception("a second could not be counted")

    def detach(self, connection: ControlConnection) -> str:
        """The owner leaves, and the service stays. Raises Refused."""
        if connection is not self._owner:
            raise Refused("only the monitor that has started the service can detach; others just leave")
        if self.runtime.proxy.draining:
            raise Refused("the service is ending: there will be nothing to come back to")
        if self.path is None:
            raise Refused("the service has no control socket to attach to again (--control none): it would be lost")
        self._owner = None
        self.runtime.owned = False
        return str(self.path)

    def welcome(self, connection: ControlConnection) -> bool:
        """Take a connection in; if there are too many, one that does nothing has to go."""
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
        """Seconds until the next command may be looked at."""
        return max(self._next_command - monotonic(), 0.0)

    def spent(self, seconds: float) -> None:
        """A command has taken so long."""
        self._next_command = max(self._next_command, monotonic()) + seconds * (1 / SHARE - 1)

    def lost(self, connection: ControlConnection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if connection is self._owner:
            self._owner = None
            self.runtime.stop("the monitor is gone", False)

    def close(self) -> None:
        """Tell everybody goodbye."""
        self._owner = None
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            if self.path.parent == directory():
                with contextlib.suppress(OSError):  # others are in it
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
        self._scheduled = False  # `_next_line` will be called
        self._full = False  # it does not read its answers
        self._ended = False  # it sends no more
        self._viewer: Viewer | None = None
        self._interval = 1 / USUAL_HZ
        self._timer: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        """Nobody would miss it."""
        return self._viewer is None and not self._lines

    # -- events ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=UNREAD_LIMIT)
        if not self._server.welcome(self):
            self._send({"error": "too many clients are connected already"})
            self.transport.close()
            return
        service = self._server.runtime.service()
        self._send({"faucet": __version__, "protocol": PROTOCOL, "port": service.port, "pid": service.pid,
                    "title": service.title, "url": service.url, "mode": service.mode})  # fmt: skip

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._timer is not None:
            self._timer.cancel()
        self._viewer = None
        self._lines.clear()
        self._server.lost(self)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines += lines
        if len(self._rest) > COMMAND_LIMIT or any(len(line) > COMMAND_LIMIT for line in lines):
            self._send({"error": f"a line may have {COMMAND_LIMIT} bytes"})
            self.transport.close()
            return
        if len(self._lines) > LINES_AHEAD:
            self.transport.pause_reading()
        self._schedule()

    def eof_received(self) -> bool:
        """Called by the loop: what it has sent is still answered."""
        self._ended = True
        return bool(self._lines)

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._full = False
        self._schedule()

    # -- commands ----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Look at the next line, as soon as all clients together have used no more than their share of the time."""
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
        except Exception:  # the lines behind this one are answered all the same
            _log.exception("the command %r failed", message.get("do"))
            self._reply(message, {"error": "Faucet failed to do this; its log says why"})
            return
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(lambda done: self._answer_late(message, done))
        else:
            self._reply(message, {"ok": answer})

    def _answer_late(self, message: Message, done: asyncio.Future[str]) -> None:
        if not done.cancelled():
            error = done.exception()
            self._reply(message, {"ok": done.result()} if error is None else {"error": str(error)})

    def _reply(self, message: Message, answer: Message) -> None:
        number = message.get("id")
        self._send({"id": number, **answer} if isinstance(number, int | str) else answer)

    def _obey(self, message: Message) -> Any:
        spoken = message.get("protocol", PROTOCOL)
        if spoken != PROTOCOL:
            raise Refused(f"this is Faucet {__version__}, which speaks protocol {PROTOCOL}, not {str(spoken)[:20]}: "
                          "use the same version on both sides")  # fmt: skip
        if message.get("do") == "watch":
            return self._watch(message)
        if message.get("do") == "detach":
            return self._server.detach(self)
        return self._server.commands.run(message)

    def _watch(self, message: Message) -> str:
        hz = message.get("hz", USUAL_HZ)
        if not isinstance(hz, int | float) or isinstance(hz, bool) or not 0 < hz <= MOST_HZ:
            raise Refused(f"`hz` is a number up to {MOST_HZ:g}")
        self._interval = 1 / hz
        if self._viewer is None:
            self._viewer = Viewer(self._server.runtime)
            self._timer = asyncio.get_running_loop().call_soon(self._tell)
        return "watching"

    def _tell(self) -> None:
        if self._viewer is None or self.transport.is_closing():
            return
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tell)
        try:
            self._tell_news(self._viewer)
        except Exception:  # the next update may succeed, and this viewer waits for it
            _log.exception("an update for a viewer could not be made")

    def _tell_news(self, viewer: Viewer) -> None:
        if self.transport.get_write_buffer_size() <= UNREAD_LIMIT:
            for message in viewer.news():
                self._send(message)

    def _send(self, message: Message) -> None:
        if not self.transport.is_closing():
            self.transport.write(encode(message))

    def close(self) -> None:
        """Say what there is to be said, and hang up."""
        if self._viewer is not None:
            self._tell_news(self._viewer)
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # it does not read


def bind(path: Path) -> socket.socket:
    """A socket at `path`, for us alone. A socket that nobody listens on is replaced. Raises ControlError."""
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise ControlError(f"the path of a socket may have {PATH_LIMIT} bytes; choose a shorter one than {path}")
    if path.parent == directory() and not is_private(path.parent):
        raise ControlError(f"{path.parent} is not yours alone (owner, mode 0700); name another place with --control")
    try:
        try:
            sock = _bound(path)
        except FileNotFoundError:  # another service, the last one in that directory, has just removed it
            sock = _bound(path)
    except OSError as error:
        raise ControlError(_why_not(path, error)) from error
    sock.setblocking(False)
    return sock


def _bound(path: Path) -> socket.socket:
    """Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return bind_unix(str(path), 0o600)


def _why_not(path: Path, error: OSError) -> str:
    if error.errno == errno.EEXIST:
        return f"{path} is there already, and is no socket; name another place with --control"
    if error.errno == errno.EADDRINUSE:
        return f"another Faucet answers at {path}; name another place with --control"
    return (
        f"cannot make the control socket {path}: {error.strerror or error}; "
        "name another place with --control PATH, or do without: --control none"
    )
