"""The SSH link: one connection to a bastion, kept up with reconnection, and the channels through it.

    CONNECTING ──▶ UP ⇄ SUSPECT ──▶ DOWN ──▶ UP …      `on_change` is called at each arrow

A link can die silently: then connections to different pods time out while no data comes from the bastion. The link is
*suspect* until data comes, or until keepalive gives up. Meanwhile no request uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from time import monotonic
from typing import Any, cast

import asyncssh

from faucet import pauses, tasks
from faucet.backoff import Backoff
from faucet.net.connect import LinkDown, ProtocolFactory
from faucet.ssh.attempt import Attempt
from faucet.ssh.channel import ChannelTransport
from faucet.ssh.errors import SshError
from faucet.ssh.login import Login
from faucet.ssh.target import Target
from faucet.text import visible
from faucet.units import format_duration

_log = logging.getLogger("faucet")

BACKOFF = Backoff(0.25, 15.0, jitter=0.25)
"""Pauses before reconnecting, in seconds."""

PERMANENT_PAUSE = 30.0
"""Least seconds after a refusal: OpenSSH 9.8 bans clients that are refused repeatedly."""

STEADY_AFTER = 10.0
"""Seconds that a link has to be up to reset the back-off."""

FAILURES_PER_TARGET = 2
"""Failed attempts after which the next bastion is tried."""

FIRST_EXEC_PATIENCE = 10.0

PROBE_PORT = 9
"""The `discard` port, on which usually no process listens: the refusal proves that the bastion is alive."""

NAMED_TCP_INFO = {"last_data_recv": 52, "rtt": 68}
"""Offsets in Linux' struct tcp_info, in bytes: milliseconds since the last data, microseconds of round trip."""


class State(Enum):
    """The state of the link."""

    CONNECTING = "connecting"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class Link:
    """A connection to the first of `targets` that accepts us. `on_change()` is called when the state has changed."""

    def __init__(self, targets: Sequence[Target], login: Login, on_change: Callable[[], None] = lambda: None) -> None:
        self.targets = list(targets)
        self.on_change = on_change
        self.state = State.CONNECTING
        self.since = monotonic()
        """When it entered that state (monotonic)."""
        self.why = ""
        """Why it is not up."""
        self.next_try: float | None = None
        self.target = self.targets[0]
        self._login = login
        self._connection: asyncssh.SSHClientConnection | None = None
        self._up = asyncio.Event()
        self._timed_out: dict[str, float] = {}  # hosts that timed out, and when, since the last sign of life
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._refused = 0  # refusals in a row
        self._acknowledge: Callable[[], None] | None = None
        self._probe: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and keep the link up from then on. Raises SshError if that can never succeed."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = tasks.start(self._live(first), "ssh link")
        await asyncio.wait([first, self._task], return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            first.result()
        else:
            self._task.result()  # an unexpected error: raise it

    async def close(self) -> None:
        """Close the link for good."""
        for task in (self._task, self._probe):
            if task is not None:
                await tasks.end(task)

    async def _live(self, first: asyncio.Future[None]) -> None:
        """Keep the link up until cancelled. Unexpected errors are raised before the first connection, never later."""
        while True:
            try:
                return await self._keep_up(first)
            except Exception as error:
                if not first.done():
                    raise
                _log.exception("the ssh link to %s failed unexpectedly; connecting again", self.target)
                self._connection = None
                self._failures += 1
                self._enter(State.DOWN, f"{type(error).__name__}: {error}")
                await self._pause(0.0)

    async def _keep_up(self, first: asyncio.Future[None]) -> None:
        refusals = 0
        while True:
            try:
                connection, attempt = await self._login.connect(self.target)
            except SshError as error:
                refusals += error.permanent
                if not first.done() and refusals >= len(self.targets):
                    first.set_exception(error)
                    return
                if not first.done() and not error.permanent:
                    first.set_result(None)  # it may come up later; until then requests get the reason
                await self._failed(error)
                continue
            try:
                await self._wake(connection)
                self._came_up(connection, attempt)
                if not first.done():
                    first.set_result(None)
                await connection.wait_closed()
            finally:
                attempt.close(connection)
            self._went_down(attempt)
            await self._pause(0.0)

    async def _wake(self, connection: asyncssh.SSHClientConnection) -> None:
        """Make sshd turn off Nagle's algorithm, which would cost 44 ms per request, by running a command.

        For an account that may not run commands, immediate TCP ACKs help in part.
        """
        self._acknowledge = None
        try:
            async with pauses.timeout(FIRST_EXEC_PATIENCE):
                await connection.run("true", stdin=asyncssh.DEVNULL, check=False, request_pty=False)
        except (OSError, asyncssh.Error, TimeoutError):
            sock = connection.get_extra_info("socket")
            if sock is not None and hasattr(socket, "TCP_QUICKACK"):
                self._acknowledge = lambda: _acknowledge_at_once(sock)

    def _came_up(self, connection: asyncssh.SSHClientConnection, attempt: Attempt) -> None:
        self._connection = connection
        self._timed_out.clear()
        self._refused = 0
        cipher = connection.get_extra_info("send_cipher")
        _log.info("ssh link to %s is up (%s)", self.target, cipher)
        self.next_try = None
        self._enter(State.UP, "")

    def _went_down(self, attempt: Attempt) -> None:
        self._connection = None
        self._failures = 0 if monotonic() - self.since > STEADY_AFTER else self._failures + 1
        _log.warning("ssh link to %s lost; reconnecting", self.target)
        self._enter(State.DOWN, "the connection was lost")

    async def _failed(self, error: SshError) -> None:
        self._failures += 1
        if str(error) != self.why:
            _log.warning("%s", error)
        self._enter(State.DOWN, str(error))
        self._refused = self._refused + 1 if error.refused else 0
        if (error.permanent or self._failures % FAILURES_PER_TARGET == 0) and len(self.targets) > 1:
            self.target = self.targets[(self.targets.index(self.target) + 1) % len(self.targets)]
            _log.info("trying the next bastion, %s", self.target)
        await self._pause(PERMANENT_PAUSE if self._refused >= len(self.targets) else 0.0)

    async def _pause(self, least: float) -> None:
        pause = max(BACKOFF.pause(self._failures + 1), least)
        self.next_try = monotonic() + pause
        await asyncio.sleep(pause)

    def _enter(self, state: State, why: str) -> None:
        if (state, why) == (self.state, self.why):
            return
        if state is not self.state:
            self.since = monotonic()
        self.state, self.why = state, why
        if state is State.UP:
            self._up.set()
        else:
            self._up.clear()
        self.on_change()

    # -- its state ---------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it can be used now."""
        return self.state is State.UP

    def described(self) -> str:
        """Return the state for messages: `up`, `reconnecting in 4s: why`."""
        if self.state is State.UP:
            return "up"
        if self.state is State.SUSPECT:
            return "silent: waiting for a sign of life"
        wait = f" in {format_duration(max(self.next_try - monotonic(), 0))}" if self.next_try is not None else ""
        return f"{'connecting' if self.state is State.CONNECTING else 'reconnecting'}{wait}" + (
            f": {self.why}" if self.why else ""
        )

    def detail(self) -> str:
        """Return the cipher and the kernel's round-trip time to the bastion: `aes128-gcm, 12ms`; empty if down."""
        if self._connection is None:
            return ""
        cipher = str(self._connection.get_extra_info("send_cipher", "")).partition("@")[0]
        round_trip = self._tcp_info("rtt")
        return f"{cipher}, {format_duration(round_trip / 1e6)}" if round_trip else cipher

    def _tcp_info(self, name: str) -> int:
        """Return a field of the kernel's tcp_info of our socket; 0 if unavailable (macOS, a proxy command)."""
        sock = self._connection.get_extra_info("socket") if self._connection is not None else None
        if sock is None or not sys.platform.startswith("linux"):
            return 0
        with contextlib.suppress(OSError, struct.error):
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            value: int = struct.unpack_from("=I", info, NAMED_TCP_INFO[name])[0]
            return value
        return 0

    async def wait_up(self, seconds: float) -> None:
        """Wait until it can be used, for at most `seconds`. Raises LinkDown."""
        with contextlib.suppress(TimeoutError):
            async with pauses.timeout(seconds):
                await self._up.wait()
        if not self.is_up:
            raise LinkDown(f"the ssh link to {self.target} is {self.described()}")

    def connection(self) -> asyncssh.SSHClientConnection:
        """Return the connection, to be used at once. Raises LinkDown."""
        if self._connection is None:
            raise LinkDown(f"the ssh link to {self.target} is {self.described()}")
        return self._connection

    # -- through it --------------------------------------------------------------------------------------------

    async def connect(
        self, protocol_factory: ProtocolFactory, host: str, port: int, timeout: float
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Open a direct-tcpip channel to an address that the bastion can reach: a Connector."""
        transport = ChannelTransport(protocol_factory(), (host, port), self._acknowledge)
        opening = self.connection().create_connection(lambda: transport, host, port)
        try:
            await _opened(opening, transport, timeout)
        except TimeoutError:
            self._heard_nothing_of(host, timeout)
            raise
        except (asyncssh.Error, OSError) as error:
            raise _as_os_error(error, self.target, host, port) from error
        self._timed_out.clear()
        return transport, transport.get_protocol()

    async def connect_unix(self, protocol_factory: ProtocolFactory, path: str, timeout: float) -> ChannelTransport:
        """Open a channel to a Unix socket on the bastion. Raises OSError, TimeoutError."""
        transport = ChannelTransport(protocol_factory(), path)
        session = cast("asyncssh.SSHUNIXSession[bytes]", transport)
        opening = self.connection().create_unix_connection(lambda: session, path)
        try:
            await _opened(opening, transport, timeout)
        except (asyncssh.Error, OSError) as error:
            said = visible(str(error)) or "no answer"
            raise ConnectionRefusedError(f"{self.target} cannot connect to {path}: {said}") from error
        return transport

    # -- silence -----------------------------------------------------------------------------------------------

    def _heard_nothing_of(self, host: str, timeout: float) -> None:
        """Record a timeout of `host`. A single one may be the host's fault; several hosts suggest the link."""
        now = monotonic()
        if self._tcp_info("last_data_recv") / 1000 < timeout:
            # The bastion is alive, so it is the host; or that is unknown, and keepalive will find out.
            self._timed_out.clear()
            return
        self._timed_out[host] = now
        if len(self._timed_out) > 1 and self.state is State.UP:
            _log.warning("ssh link to %s is silent: requests are held until it gives a sign of life", self.target)
            self._enter(State.SUSPECT, "connections to different pods were not answered")
            self._probe = tasks.start(self._wait_for_life(), "ssh link probe")

    async def _wait_for_life(self) -> None:
        """Probe the bastion with a connection that it refuses itself: any answer is a sign of life."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(asyncssh.Error, OSError):
            channel, _ = await connection.create_connection(asyncssh.SSHTCPSession, "127.0.0.1", PROBE_PORT)
            channel.abort()
        if self.state is State.SUSPECT and self._connection is connection and not connection.is_closed():
            self._timed_out.clear()
            _log.info("ssh link to %s responds again", self.target)
            self._enter(State.UP, "")


def _acknowledge_at_once(sock: Any) -> None:
    """Set TCP_QUICKACK, which wears off, so it is set again after each read."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def _opened(opening: Coroutine[Any, Any, Any], transport: ChannelTransport, timeout: float) -> None:
    """Wait until a channel is open. Raises what asyncssh does, or TimeoutError.

    A channel that opens after the timeout is aborted: otherwise it would stay open for good, here and on the bastion.
    """

    def too_late(future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            transport.abort()

    future = asyncio.ensure_future(opening)
    try:
        async with pauses.timeout(timeout):
            await asyncio.shield(future)
    except BaseException:
        future.add_done_callback(too_late)
        raise


def _as_os_error(error: Exception, target: Target, host: str, port: int) -> OSError:
    """Return the OSError that TCP would raise."""
    if isinstance(error, asyncssh.ChannelOpenError):
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            return PermissionError(
                f"{target} lets us log in, but forbids TCP forwarding to {host}:{port} (AllowTcpForwarding, "
                "PermitOpen, or `restrict` in authorized_keys)"
            )
        if "refused" in error.reason.lower():
            return ConnectionRefusedError(f"connection refused, seen from {target}")
        if "closed" in error.reason.lower():
            return LinkDown(error.reason)
        return OSError(f"no connection from {target}: {visible(error.reason)}")
    if isinstance(error, asyncssh.Error):
        return LinkDown(str(error))
    return LinkDown(str(error)) if isinstance(error, OSError) else OSError(str(error))
