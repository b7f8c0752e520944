"""Choose ports for workers: free ones that every server in R accepts, or those from --child-port on."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

HOST = "127.0.0.1"
"""The address that workers listen on. Only Faucet should be able to connect to them."""

PLUMBER_PORTS = range(1024, 49152)
"""plumber 1.3 and later refuses to listen on any other port."""

REFUSED_PORTS = frozenset((2049, 3659, 4045, 6000, *range(6665, 6670), 6697))
"""Ports in that range that plumber 1.3 and later refuses, too, since browsers call them unsafe: `httpuv:::unsafe_ports`
of httpuv 1.6.15."""

DEFAULT_PORTS = range(20000, 32768)
"""Below the ports that Linux uses for outgoing connections (32768 to 60999 by default), so that no such connection can
take a port between our check and the worker's bind."""

OTHER_PORTS = range(7000, 49152)
"""Used if the kernel uses DEFAULT_PORTS for outgoing connections."""

ENOUGH = 4000
"""Least number of ports to choose from: enough for 1000 workers, their successors, and other programs."""

_LOCAL_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def accepted_by_plumber(port: int) -> bool:
    """Return whether every version of plumber listens on `port`."""
    return port in PLUMBER_PORTS and port not in REFUSED_PORTS


def is_free(port: int) -> bool:
    """Return whether a worker could listen on `port` now; True if that cannot be determined."""
    try:
        return _can_bind(port, beside_others=True)
    except OSError:
        return True


def free_port(used: AbstractSet[int], candidates: Sequence[int] | None = None) -> int:
    """Return a free port that plumber accepts and that is not in `used` (those of workers that do not listen yet).

    No other process may even have bound it: Faucet binds its own address before it listens on it. The search starts at
    a random port, so that two Faucets on one machine rarely try the same ones. Raises OSError if no file descriptors
    are left, or no port is free.
    """
    ports = port_candidates(outgoing_ports()) if candidates is None else candidates
    start = random.randrange(len(ports))
    for index in range(len(ports)):
        port = ports[(start + index) % len(ports)]
        if port not in used and _can_bind(port, beside_others=False):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {ports[0]} and {ports[-1]}")


def port_candidates(outgoing: range) -> list[int]:
    """Return the ports to choose from, given those that the kernel uses for outgoing connections.

    If administrators have widened that range (1024 to 65535 is common on busy proxies), too few of DEFAULT_PORTS may be
    left; then any other port that plumber accepts is used. If none is left at all, the defaults are used. An outgoing
    connection may then take a port before the worker listens on it: the worker is started again on another port.
    """
    for ports in (DEFAULT_PORTS, OTHER_PORTS):
        left = [port for port in ports if port not in outgoing and accepted_by_plumber(port)]
        if len(left) >= ENOUGH:
            return left
    return [port for port in DEFAULT_PORTS if accepted_by_plumber(port)]


def outgoing_ports(path: Path = _LOCAL_PORT_RANGE) -> range:
    """Return the ports that the kernel gives to outgoing connections; elsewhere than on Linux, those of IANA."""
    try:
        first, last = map(int, path.read_text().split())
    except (OSError, ValueError):
        return range(49152, 65536)
    return range(first, last + 1)


def child_ports(first: int, number: int, count: int) -> list[int]:
    """Return the ports that worker `number` of `count` may get with `--child-port first`, best first.

    Worker i gets the i-th port; its successor in a rolling restart gets one of those after all workers' ports.
    """
    return [first + number - 1, *range(first + count, first + 2 * count)]


def child_port_block(first: int, most: int) -> range:
    """Return all ports that up to `most` workers, and their successors, may get with `--child-port first`."""
    return range(first, first + 2 * most)


def child_port_problem(first: int, most: int) -> str:
    """Return why `--child-port first` does not suit up to `most` workers in R; an empty text if it does."""
    if not first:
        return ""
    block = child_port_block(first, most)
    bad = [port for port in block if not accepted_by_plumber(port)]
    if not bad:
        return ""
    workers = "1 worker" if most == 1 else f"up to {most} workers"
    return (
        f"--child-port {first}: {workers}, and as many successors in rolling restarts, take ports {block[0]} to "
        f"{block[-1]}. {_why_refused(bad)} Choose another first port{_suggestion(most)}, or leave out --child-port "
        "for free ports."
    )


def _why_refused(bad: Sequence[int]) -> str:
    blocked = [port for port in bad if port in REFUSED_PORTS]
    if not blocked:
        return f"plumber listens on ports {PLUMBER_PORTS[0]} to {PLUMBER_PORTS[-1]} only."
    return f"plumber refuses port {blocked[0]}, which browsers call unsafe."


def _suggestion(most: int) -> str:
    """Return `, e.g. --child-port 20000`; nothing if no block of ports is large enough."""
    starts: Iterable[int] = (DEFAULT_PORTS[0], OTHER_PORTS[0])
    fits = next((first for first in starts if first + 2 * most - 1 in PLUMBER_PORTS), None)
    return f", e.g. --child-port {fits}" if fits else ""


def _can_bind(port: int, *, beside_others: bool) -> bool:
    """Return whether the port can be bound. `beside_others`: even if connections or non-listening sockets use it.

    Raises OSError if no file descriptors are left.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(beside_others))
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True
