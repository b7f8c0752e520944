"""`faucet top`: the list of services, its order, and the choice of one."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from faucet.control.find import HERE
from faucet.control.hosts import Found, Host
from faucet.tui.hosts_app import HostsApp
from faucet.tui.hosts_columns import SUMMARIES, arranged, remark_of
from faucet.tui.table_columns import Order
from tests.support.goldens import compare
from tests.support.screen import screen_text
from tests.support.stage_hosts import FAR, found

SERVICES = [
    found(3838),
    found(3839, waiting=0, oldest=0.0, locked=0, p95=None, errors=0),
    Found(HERE, Path("/run/3840.sock"), None, "the service (pid 7) is Faucet 0.1 with control protocol 2"),
    found(3838, FAR, rps=0.2, waiting=40, refused=7, service={"state": "failing", "trouble": "no worker starts"}),
    Found(FAR, None, None, "cannot connect to ops@server"),
]


class Staged:
    """A machine that is not there."""

    def __init__(self, services: list[Found]) -> None:
        self.services = services

    async def look(self) -> list[Found]:
        """See Host."""
        return self.services

    async def close(self) -> None:
        """See Host."""


def app_of(services: list[Found]) -> HostsApp:
    return HostsApp([cast("Host", Staged(services))], Order("host"))


@pytest.mark.parametrize("size", [(120, 12), (80, 12), (50, 12)])
async def test_pictures(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr("faucet.tui.hosts_app.ascii_only", lambda: size[0] == 80)
    app = app_of(SERVICES)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "2 services" not in text
        assert "3 services  busy 6/15  queue 43" in text
        if size[0] == 80:
            assert text.isascii()
        compare(f"top-{size[0]}", text)


async def test_keys() -> None:
    app = app_of(SERVICES)
    async with app.run_test(size=(120, 12)) as pilot:
        await pilot.pause()
        for _ in range(5):
            await pilot.press("s")
        assert app.order == Order("queue")
        assert "QUEUE" in screen_text(app)
        await pilot.press("down", "enter")
    assert app.return_value is SERVICES[3], "the longest queue comes first"


async def test_what_does_not_answer_cannot_be_chosen_and_q_leaves() -> None:
    app = app_of(SERVICES)
    async with app.run_test(size=(120, 12)) as pilot:
        await pilot.pause()
        await pilot.press("down", "down", "down", "enter")
        assert app.return_value is None
        assert app._exit is False
        await pilot.press("q")
    assert app.return_value is None


async def test_nothing_runs() -> None:
    app = app_of([])
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.pause()
        assert "No Faucet is running here" in screen_text(app)


@pytest.mark.parametrize("column", ["host", *(column.id for column in SUMMARIES)])
def test_orders_keep_what_does_not_answer_behind(column: str) -> None:
    for inverted in (False, True):
        names = arranged(SERVICES, Order(column, inverted))
        assert sorted(map(id, names)) == sorted(map(id, SERVICES))
        assert column == "host" or [each.summary is None for each in names] == [False] * 3 + [True] * 2


def test_remarks() -> None:
    assert [remark_of(each) for each in SERVICES] == [
        "", "", "3840.sock: the service (pid 7) is Faucet 0.1 with control protocol 2", "no worker starts",
        "cannot connect to ops@server",
    ]  # fmt: skip
