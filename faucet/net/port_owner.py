"""Who listens on which port: to name the culprit, never to decide anything that must be right.

Everything here may be unknown (another user's process, no /proc): the answers then are None or empty.
"""

from __future__ import annotations

from typing import Any


def who_listens(port: int) -> str | None:
    """`nginx (pid 812)`, or None if that cannot be told."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and port == _port(connection.laddr) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return None


def ports_of(pid: int) -> set[int] | None:
    """The ports that the process `pid` and its descendants listen on; None if that cannot be told."""
    import psutil

    ports: set[int] = set()
    try:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            for connection in member.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    ports.add(_port(connection.laddr))
    except (psutil.Error, OSError):
        return None
    return ports


def _port(address: tuple[Any, ...]) -> int:
    port: int = address[1]
    return port
