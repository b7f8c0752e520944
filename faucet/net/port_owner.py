"""Finds the process that listens on a port: for messages, never for decisions.

The process may be unknown (another user's process, no /proc): then the result is None.
"""

from __future__ import annotations

from typing import Any


def who_listens(port: int, host: str = "") -> str | None:
    """Return the process that listens on `port` as `nginx (pid 812)`; None if it is unknown.

    Several processes may listen on the port, each at another address: the process at `host` is preferred, then one that
    listens on all addresses, then any.
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
