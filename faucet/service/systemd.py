"""What systemd and a service say to each other: sockets that are open already, and how the service is.

Both protocols are a few environment variables, read here without libsystemd: sd_listen_fds(3), sd_notify(3) and
sd_watchdog_enabled(3) are their rules. Variables that are for this process alone are taken out of the environment,
so that no worker believes they were for it. Without systemd nothing here does anything, and nothing ever blocks.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Mapping, MutableMapping

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START: the first descriptor behind standard input, output and error."""

STATUS_LIMIT = 1000
"""Characters of a status. systemd drops a message of more than 4096 bytes, and a character can be four."""

_NUMBER = re.compile(r"[0-9]{1,19}")

_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


class SystemdError(Exception):
    """Variables that contradict themselves, or a socket of no use to us. The text is for the user."""


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd has opened for this process, in the order of the unit; usually none.

    They do not block and are not inherited by children, and the variables are taken out of `environ`, whatever comes
    of it. To be called once, before anything else opens descriptors. Raises SystemdError if something is wrong: then
    the service cannot be what its unit says, and should end.
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
        opened.pop_all()  # all are right: nothing is to be closed
    return sockets


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two calls of Notifier.watchdog, None if systemd does not wait for any. Raises SystemdError.

    Half the time after which it would end us, as sd_watchdog_enabled(3) advises.
    """
    limit, pid = environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID")
    if limit is None or (pid is not None and _number("WATCHDOG_PID", pid) != os.getpid()):
        return None
    microseconds = _number("WATCHDOG_USEC", limit)
    if not microseconds:
        raise SystemdError("WATCHDOG_USEC is 0")
    return microseconds / 2e6


class Notifier:
    """Tells systemd how the service is, if it asked to be told (`Type=notify` or `notify-reload`).

    A message that cannot be sent is lost without a word: the service is none the worse for it, a unit that waits
    for READY=1 has its own timeout and says so itself, and a full queue must not hold up requests.
    """

    __slots__ = ("_address",)

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes NOTIFY_SOCKET out of `environ`: some programs, started as workers, would speak in our name."""
        address = environ.pop("NOTIFY_SOCKET", "")
        # `@` is an abstract socket. Others than these two (vsock, for virtual machines) are not for services.
        self._address = None
        if len(address) > 1 and address[0] in "/@":
            self._address = os.fsencode("\0" + address[1:] if address[0] == "@" else address)

    def ready(self, status: str = "") -> None:
        """The service answers requests, or has done what `reloading` began."""
        self._send("READY=1", *([_status(status)] if status else []))

    def reloading(self) -> None:
        """What runs is being replaced; `ready` must follow."""
        # systemd 253 and later tell by the time whether this is the answer to their signal (Type=notify-reload).
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service has begun to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; an empty one takes away the last."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """The service is alive; see watchdog_interval."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        message = "\n".join(assignments).encode(errors="replace")
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message, self._address)


def _status(text: str) -> str:
    """A line break would begin another assignment."""
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
