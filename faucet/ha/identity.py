"""Who this process is, and where others reach it, as the pod's environment tells (Kubernetes: the downward API)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from secrets import token_hex

from faucet.ha.record import Identity


def identity_of(environment: Mapping[str, str]) -> Identity:
    """Return the identity of this process: POD_NAME and POD_UID, or the host's name. Each call makes another one.

    Only a UID tells that an earlier process of the pod is dead, so without POD_UID its Lease has to run out.
    """
    name = environment.get("POD_NAME") or socket.gethostname()
    return Identity(_plain(name), _plain(environment.get("POD_UID", "")), token_hex(8))


def _plain(text: str) -> str:
    """An identity is written with slashes between its parts."""
    return text.strip().replace("/", "-")


def address_of(environment: Mapping[str, str], host: str, port: int) -> str:
    """Return the address to tell others: POD_IP, or the host that is listened on, or this host's own address."""
    address = environment.get("POD_IP") or ("" if host in ("", "0.0.0.0", "::") else host) or _own_address()
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _own_address() -> str:
    """Of the interface that the default route leaves by; nothing is sent. Loopback where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: nobody's
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
