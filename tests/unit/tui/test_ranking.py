"""The endpoints in the monitor: sorted, and the way to the requests of one."""

from __future__ import annotations

import pytest

from faucet.tui.lines import Heading
from faucet.tui.ranking import key_of
from tests.support.goldens import compare
from tests.support.screen import Open, drawn, keys, redrawn, screen_text
from tests.support.stage_picture import ENDPOINTS


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12), (200, 60)])
async def test_pictures(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, _):
        await keys(app, pilot, "6")
        compare(f"endpoints-{size[0]}x{size[1]}", await redrawn(app, pilot))


async def test_picture_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((120, 36)) as (app, pilot, _):
        await keys(app, pilot, "6")
        text = await redrawn(app, pilot)
        assert text.split("Endpoints")[1].isascii()
        assert "71.2% ##############" in text


async def test_sorting(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "6")
        assert "the last 15m00s, by SHARE (s)" in (await redrawn(app, pilot))
        orders = {}
        for _ in range(9):
            await keys(app, pilot, "s")
            orders[app.endpoint_order.column] = [line.item.endpoint for line in app.view._lines[1:]]
        names = [row["endpoint"] for row in ENDPOINTS["endpoints"]]
        assert orders["share"] == names
        assert orders["endpoint"] == sorted(names)
        assert orders["p95"][:2] == ["POST /train", "GET /predict"]
        assert orders["errors"][0] == "GET /sales/<n>/items/<uuid>"
        await pilot.click("#endpoints", offset=(5, 0), times=2)
        assert app.endpoint_order.column == "endpoint", "a double click on the titles sorts, too"


async def test_the_requests_of_an_endpoint(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "6", "up", "up", "up")
        assert key_of(app.view.current.item if app.view.current else None) == "GET /score"
        app.draw_endpoints()
        assert key_of(app.view.current.item if app.view.current else None) == "GET /score", "the cursor stays on it"
        await keys(app, pilot, "enter")
        assert app.tab == "requests"
        assert "GET /score only (esc)" in (await redrawn(app, pilot))
        assert app.view.count == sum(row.method == "GET" for row in app.model.requests)
        await keys(app, pilot, "1")
        assert all(" http " in text for text in app.view.texts)
        await keys(app, pilot, "escape")
        assert any(" out " in text for text in app.view.texts)
        await keys(app, pilot, "6", "end", "up", "enter")
        assert app.tab == "endpoints", "other is no endpoint"


async def test_the_titles_stay_when_lines_are_filtered(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "6", "slash", *"predict", "enter")
        assert [key_of(line.item) for line in app.view._lines] == [Heading(), "GET /predict"]


async def test_endpoints_are_asked_for_only_while_they_are_shown(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        app.fetch_endpoints()
        await drawn(app, pilot)
        assert runtime.asked == []
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        await commands["Endpoints (endpoints)"]()
        await drawn(app, pilot)
        assert {asked for asked, _ in runtime.asked} == {"endpoints"}
        runtime.refuse = "no such command"
        app.fetch_endpoints()
        await drawn(app, pilot)
        assert "GET /predict" in screen_text(app), "what was there stays"
