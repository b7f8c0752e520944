"""Services on other machines that are not there, as `faucet top` finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from faucet.control.find import HERE, Place
from faucet.control.hosts import Found, Summary
from tests.support.stage_picture import NOW, SERVICE, TOTALS


class Far:
    """Another machine."""

    where = "on ops@server"


FAR = cast("Place", Far())


def found(port: int, place: Place = HERE, title: str = "", **more: Any) -> Found:
    """Return a service with some figures."""
    service = SERVICE._replace(port=port, title=title or f"/srv/api-{port}", **more.pop("service", {}))
    return Found(place, Path(f"/run/{port}.sock"), Summary(service, TOTALS._replace(**more), NOW))


def other_services() -> list[Found]:
    """Return the services of one other machine: one is well, one fails, one is of another version."""
    why = "no worker can be started: The R package forecast is missing"
    return [
        found(3838, FAR, "/srv/pricing", waiting=0, oldest=0.0, locked=2, errors=0),
        found(3839, FAR, "/srv/stock", rps=0.2, waiting=40, oldest=NOW - 13.8, locked=0, refused=7,
              service={"state": "failing", "trouble": why}),
        Found(FAR, Path("/run/3840.sock"), None, "the service (pid 811) is Faucet 0.1 with control protocol 2"),
    ]  # fmt: skip
