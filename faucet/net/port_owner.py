"""Who listens on which port: to name the culprit, never to decide anything that must be right.

Everything here may be unknown (another user's process, no /proc): the answers then are None or empty.
"""

from __future__ import annotations

from typing import Any


def who_listens(port: int, host: str = "") -> str | None:
    """`nginx (pid 812)`, or None if that cannot be told.

    Several may listen on the port, each at an address of its own: the one at `host` is in the way of who wants to
    listen there, else one that listens everywhere, else any.
    """
    import psutil

    try:
        owners = {
            _host(connection.laddr): connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and port == _port(connection.laddr) and connection.pid
        }
        for address in (host, "0.0.0.0", "::", *owners):
            if address in owners:
                return f"{psutil.Process(owners[address]).name()} (pid {owners[address]})"
    except (psutil.Error, OSError):
        pass
    return None


def _host(address: tuple[Any, ...]) -> str:
    host: str = address[0]
    return host


def _port(address: tuple[Any, ...]) -> int:
    port: int = address[1]
    return port
