"""The interface to systemd: inherited sockets (socket activation), and notifications about the state of the service.

Both protocols use environment variables, which are read here without libsystemd, by the rules of sd_listen_fds(3),
sd_notify(3) and sd_watchdog_enabled(3). Variables for this process alone are removed from the environment, so that no
worker uses them. Without systemd, the functions do nothing. No function blocks.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Mapping, MutableMapping

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first descriptor after standard input, output and error."""

STATUS_LIMIT = 1000
"""Most characters of a status. systemd drops messages of more than 4096 bytes, and a character takes up to four."""

_NUMBER = re.compile(r"[0-9]{1,19}")

_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


class SystemdError(Exception):
    """Contradictory variables, or a socket that cannot be used. The text is shown to the user."""


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd has opened for this process, in the order of the unit; usually none.

    The sockets are non-blocking and are not inherited by children. The variables are always removed from `environ`.
    Call this once, before other code opens descriptors. Raises SystemdError if the variables or sockets are invalid:
    then the service cannot run as its unit describes, and should exit.
    """
    pid, _, count, names = (environ.pop(name, None) for name in _LISTEN_VARIABLES)
    if pid is None or count is None or _number("LISTEN_PID", pid) != os.getpid():
        return []
    size = _number("LISTEN_FDS", count)
    known = names.split(":") if size and names is not None else None
    if known is not None and len(known) != size:
        raise SystemdError(f"LISTEN_FDNAMES has {len(known)} names, and LISTEN_FDS is {size}")
    with contextlib.ExitStack() as opened:
        sockets = []
        for index in range(size):
            described = f"socket {index + 1}" + (f" ({known[index]})" if known else "") + " from systemd"
            sockets.append(opened.enter_context(_listening_socket(FIRST_DESCRIPTOR + index, described)))
        opened.pop_all()  # all sockets are valid: keep them open
    return sockets


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return the seconds between two calls of Notifier.watchdog; None without a watchdog. Raises SystemdError.

    It is half the time after which systemd would end the service, as sd_watchdog_enabled(3) recommends.
    """
    limit, pid = environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID")
    if limit is None or (pid is not None and _number("WATCHDOG_PID", pid) != os.getpid()):
        return None
    microseconds = _number("WATCHDOG_USEC", limit)
    if not microseconds:
        raise SystemdError("WATCHDOG_USEC is 0")
    return microseconds / 2e6


class Notifier:
    """Sends the state of the service to systemd, if the unit requests it (`Type=notify` or `notify-reload`).

    A message that cannot be sent is dropped silently: the service does not depend on it, a unit that waits for READY=1
    has its own timeout and reports it, and a full socket buffer must not delay requests.
    """

    __slots__ = ("_address",)

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Remove NOTIFY_SOCKET from `environ`: otherwise workers could send messages in the name of the service."""
        address = environ.pop("NOTIFY_SOCKET", "")
        # `@` is an abstract socket. Other address types (vsock, for virtual machines) are not meant for services.
        self._address = None
        if len(address) > 1 and address[0] in "/@":
            self._address = os.fsencode("\0" + address[1:] if address[0] == "@" else address)

    def ready(self, status: str = "") -> None:
        """Report that the service answers requests, or that the operation started by `reloading` is complete."""
        self._send("READY=1", *([_status(status)] if status else []))

    def reloading(self) -> None:
        """Report that a reload has begun. A call of `ready` must follow."""
        # systemd 253 and later use the time to check that this answers their signal (Type=notify-reload).
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the service has begun to stop."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the status line of `systemctl status`. An empty text removes it."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """Report that the service is alive; see watchdog_interval."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        message = "\n".join(assignments).encode(errors="replace")
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message, self._address)


def _status(text: str) -> str:
    """Return the assignment of STATUS on one line, since a line break would begin another assignment."""
    return f"STATUS={' '.join(text.split())[:STATUS_LIMIT]}"


def _number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise SystemdError(f"invalid {name} {text!r}; expected a number")
    return int(text)


def _listening_socket(descriptor: int, described: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SystemdError(f"{described} is not an open socket: {error.strerror}") from error
    try:
        _check(sock, described)
        sock.set_inheritable(False)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _check(sock: socket.socket, described: str) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or sock.type != socket.SOCK_STREAM:
        raise SystemdError(f"{described} is not for TCP or Unix streams: the unit needs ListenStream=")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise SystemdError(f"{described} does not listen: the unit needs Accept=no")
