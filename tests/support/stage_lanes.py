"""What three workers did in one minute, for pictures of lock lanes."""

from __future__ import annotations

from faucet.status.snapshot import LogRow, RequestRow
from tests.support.stage_picture import NOW


def request(worker: str, start: float, seconds: float, target: str = "/score?id=1", status: int = 200) -> RequestRow:
    """A request that held the lock of `worker`, from `start` seconds after the window began a minute ago."""
    note = "the client left" if status == 499 else ""
    return RequestRow(
        NOW - 60 + start + seconds, "10.0.0.7", "GET", target, status, 312, 120, 0.25, seconds, worker, note
    )


HELD = [
    request("1", 2, 8), request("1", 10, 6, "/report.pdf"), request("1", 20, 0.2), request("1", 20.6, 0.3, "/health"),
    request("1", 24, 25, "/report.pdf"), request("2", 5, 3), request("2", 9, 30, "/train", 504), request("2", 45, 2),
    *(request("3", 3 * n, 1.2 + n / 20, f"/sales/{n}") for n in range(17)),
    request("3", 54.2, 5, "/train", 499)._replace(left=3.0),
]  # fmt: skip

TROUBLE = [
    LogRow(NOW - 20, "warning", "2", "worker 2: was ended by SIGSEGV after 40s, during GET /train from 10.0.0.7")
]
