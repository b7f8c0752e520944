"""The identity and address of this process, from the pod's environment (Kubernetes: the downward API)."""

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
    """Return `text` without slashes, which separate the parts of an identity."""
    return text.strip().replace("/", "-")


def address_of(environment: Mapping[str, str], host: str, port: int) -> str:
    """Return the address for other members: POD_IP, or the listening host, or this machine's own address."""
    address = environment.get("POD_IP") or ("" if host in ("", "0.0.0.0", "::") else host) or _own_address()
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _own_address() -> str:
    """Return the address of the interface of the default route; loopback without one. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: reserved for documentation
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
