"""Where a worker listens, its descendants included.

This tells a worker from another program on the same port, and explains a worker that listens in the wrong place.
Workers are reached at 127.0.0.1, or at ::1 if they listen only there (as programs do that bind `localhost`).
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from faucet.workers.ports import HOST

if TYPE_CHECKING:
    import psutil

HOST_6 = "::1"

_EVERYWHERE = frozenset(("0.0.0.0", "::"))

_REACHED_BY = {
    HOST: frozenset((HOST, f"::ffff:{HOST}", *_EVERYWHERE)),
    HOST_6: frozenset((HOST_6, "::")),
}
"""Where a process listens that a connection to the address can come to."""

_ACCEPTS = 0x10000
"""__SO_ACCEPTCON among the flags of /proc/net/unix: the socket listens."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses that a process listens on."""

    tcp: frozenset[tuple[str, int]] = frozenset()
    """Numeric hosts, and ports."""
    unix: frozenset[str] = frozenset()
    """Paths of Unix sockets; `@name` for those that have none in the file system."""

    def reached_at(self, host: str, port: int) -> bool:
        """Return whether a connection to `host` (127.0.0.1 or ::1) and `port` comes to this process."""
        return not _REACHED_BY[host].isdisjoint(self._hosts(port))

    def on(self, port: int) -> bool:
        """Return whether it listens on `port` where Faucet reaches it."""
        return any(self.reached_at(host, port) for host in _REACHED_BY)

    def exposed(self, port: int) -> str | None:
        """Return the address, if another machine may reach `port`."""
        return next((_written(host, port) for host in sorted(self._hosts(port)) if not _is_loopback(host)), None)

    def instead_of(self, port: int) -> str:
        """Return what it does instead of accepting connections on `port`; empty if it listens nowhere."""
        hosts = sorted(self._hosts(port))
        if self.on(port):
            return f"listens on port {port}, but accepts no connection"
        if hosts:
            where = ", ".join(_written(host, port) for host in hosts)
            return (
                f"listens on {where}, not on {_written(HOST, port)}: an API served by Faucet has to listen on {HOST}, "
                f'in R: host = "{HOST}"'
            )
        if self.tcp:
            others = ", ".join(str(other) for other in sorted({other for _, other in self.tcp}))
            return (
                f"listens on port {others}, not on {port}: an API served by Faucet has to listen on the port in "
                'FAUCET_PORT, in R: port = as.integer(Sys.getenv("FAUCET_PORT"))'
            )
        if self.unix:
            return (
                f"listens on the Unix socket {', '.join(sorted(self.unix))}, not on port {port}: an API served by "
                f"Faucet has to listen on {HOST} and the port in FAUCET_PORT"
            )
        return ""

    def _hosts(self, port: int) -> set[str]:
        return {host for host, other in self.tcp if other == port}


def listening_of(pid: int) -> Listening | None:
    """Return where the process `pid` and its descendants listen; None if that cannot be told."""
    import psutil

    tcp: set[tuple[str, int]] = set()
    unix: set[str] = set()
    gone = (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError)  # a child may end at any time
    try:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.nullcontext() if member == process else contextlib.suppress(*gone):
                tcp |= {
                    (connection.laddr[0], connection.laddr[1])
                    for connection in member.net_connections("tcp")
                    if connection.status == psutil.CONN_LISTEN
                }
                unix |= _unix_sockets(member)
    except (psutil.Error, OSError):
        return None
    return Listening(frozenset(tcp), frozenset(unix))


def _unix_sockets(process: psutil.Process) -> set[str]:
    """Return the paths of Unix sockets on which `process` listens."""
    if sys.platform != "linux":  # psutil does not tell which of them listen: those with a path and no other end
        return {str(one.laddr) for one in process.net_connections("unix") if one.laddr and not one.raddr}
    own = _inodes(process.pid)
    paths = set()
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/net/unix").read_text(errors="replace").splitlines()[1:]:
            words = line.split(maxsplit=7)  # address, references, protocol, flags, type, state, inode, path
            if len(words) == 8 and words[6] in own and int(words[3], 16) & _ACCEPTS:
                paths.add(words[7])
    return paths


def _inodes(pid: int) -> set[str]:
    """Return the inodes of the sockets of the process `pid`."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            target = str(link.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def _is_loopback(host: str) -> bool:
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
