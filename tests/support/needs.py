"""What tests need of the machine, and what becomes of those for which it is missing."""

from __future__ import annotations

import os
import socket

import pytest

IN_CI = bool(os.environ.get("CI"))


def need(present: bool, what: str) -> None:
    """Skip without `what`; in CI nothing that matters may be skipped."""
    if not present:
        if IN_CI:
            pytest.fail(f"{what} must be installed where CI runs")
        pytest.skip(f"needs {what}")


def has_ipv6() -> bool:
    """Whether a socket can be bound at ::1."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
