"""Lock lanes in the monitor: by key, by mouse and by the palette."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from faucet.status.snapshot import RequestRow
from faucet.tui.app import Monitor
from faucet.tui.lane_view import LaneView
from faucet.tui.request_screen import RequestScreen
from faucet.tui.screens import WorkerScreen
from faucet.tui.spans import overlaps
from tests.support.goldens import compare
from tests.support.screen import Open, keys, redrawn, screen_text
from tests.support.stage_lanes import HELD, TROUBLE
from tests.support.stage_picture import LOG, NOW, StagedRuntime


async def staged(app: Monitor, pilot: Pilot[str], runtime: StagedRuntime) -> str:
    """The screen, after a minute of requests."""
    runtime.tell({"requests": sorted(HELD), "skipped": 0})
    runtime.tell({"log": TROUBLE, "skipped": 0})
    return await redrawn(app, pilot)


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12), (200, 60)])
async def test_pictures(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        await keys(app, pilot, "5")
        compare(f"lanes-{size[0]}x{size[1]}", await staged(app, pilot, runtime))


@pytest.mark.parametrize("tab", ["5", "6"])
async def test_every_size_can_be_drawn(opened: Open, tab: str) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, tab)
        await staged(app, pilot, runtime)
        for size in [(80, 24), (50, 12), (30, 6), (20, 3), (8, 4), (200, 60), (160, 8), (120, 36)]:
            await pilot.resize_terminal(*size)
            text = await redrawn(app, pilot)
        assert ("GET /train" if tab == "5" else "OF ALL LOCK TIME") in text, "as it was drawn for this size"


async def test_picture_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, pilot, runtime):
        await keys(app, pilot, "5")
        text = await staged(app, pilot, runtime)
        assert text.isascii()
        compare("lanes-ascii", text)


async def test_without_colour_the_shapes_tell(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "5")
        text = await staged(app, pilot, runtime)
        assert "█▓" in text, "past --slow"
        assert "✖" in text


async def test_the_cursor_goes_from_request_to_request(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "5")
        await staged(app, pilot, runtime)
        await keys(app, pilot, "right")
        assert "\n POST /predict 1.24s" in screen_text(app)
        await keys(app, pilot, "enter")
        assert isinstance(app.screen, WorkerScreen), "a lock that is held now is its worker's"
        await keys(app, pilot, "escape", "down", "down", "left", "left")
        assert "200 GET /sales/16" in screen_text(app)
        await keys(app, pilot, "enter")
        assert isinstance(app.screen, RequestScreen)
        assert "in the queue   250ms" in screen_text(app)
        await keys(app, pilot, "escape", "end")
        assert "← → select a request" in screen_text(app)


async def test_zoom(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "5")
        await staged(app, pilot, runtime)
        lanes = app.query_one("#lanes", LaneView)
        for key, span in (("[", 120), ("[", 300), ("[", 900), ("[", 900), ("]", 300)):
            await keys(app, pilot, {"[": "left_square_bracket", "]": "right_square_bracket"}[key])
            assert lanes.span == span
        assert "5m; [ and ]" in screen_text(app)
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        await commands["Shorter time span (shorter)"]()
        assert lanes.span == 120


@pytest.mark.parametrize("by", ["mark", "drag", "palette"])
async def test_a_span_limits_log_and_requests(opened: Open, by: str) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "5")
        await staged(app, pilot, runtime)
        if by == "drag":
            await pilot.mouse_down("#lanes", offset=(30, 1))
            await pilot.hover("#lanes", offset=(40, 1))
            await pilot.mouse_up("#lanes", offset=(40, 1))
        else:
            mark: Any = {command.title: command.callback for command in app.get_system_commands(app.screen)}[
                "Mark (mark)"
            ]
            await keys(app, pilot, "right", "left", "left")
            await (mark() if by == "palette" else keys(app, pilot, "m"))
            await keys(app, pilot, "left")
            await (mark() if by == "palette" else keys(app, pilot, "m"))
        await pilot.pause()
        span = app.span
        assert span is not None
        await keys(app, pilot, "2")
        text = await redrawn(app, pilot)
        assert "only (esc)" in text
        shown = {line.item for line in app.view._lines}
        assert shown
        assert shown == {row for row in app.model.requests if overlaps(row, span)}
        assert len(shown) < len(app.model.requests)
        await keys(app, pilot, "escape")
        assert app.span is None
        assert app.view.count == len(app.model.requests)


async def test_clicks(opened: Open) -> None:
    async with opened((200, 60)) as (app, pilot, runtime):
        await staged(app, pilot, runtime)
        beside = app.query_one("#beside", LaneView)
        await pilot.click("#beside", offset=(60, 1))
        assert "GET /report.pdf" in screen_text(app).splitlines()[3], "there is no other line for it"
        await pilot.click("#beside", offset=(60, 1), times=2)
        await pilot.pause()
        assert isinstance(app.screen, RequestScreen)
        await keys(app, pilot, "escape")
        await pilot.click("#beside", offset=(80, 8))
        assert beside._item() is None


async def test_a_click_where_lanes_are_apart(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "5")
        await staged(app, pilot, runtime)
        await pilot.click("#lanes", offset=(86, 5))
        assert "499 GET /train  5s (3s after its client left)" in screen_text(app)


async def test_many_workers_scroll(opened: Open) -> None:
    async with opened((80, 24)) as (app, pilot, runtime):
        await keys(app, pilot, "5")
        rows = [RequestRow(NOW - 5, "c", "GET", "/", 200, 1, 1, 0.0, 3.0, str(n), "") for n in (1, 8)]
        runtime.tell({"requests": rows, "skipped": 0})
        await redrawn(app, pilot)
        await pilot.resize_terminal(80, 20)
        await redrawn(app, pilot)
        for _ in range(6):
            await keys(app, pilot, "down")
        lines = screen_text(app).splitlines()
        assert any(line.startswith("8 ") for line in lines), "the chosen lane is in sight"


async def test_actions_on_lines_are_not_offered_on_lanes(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "5", "slash", "w", "c", "S", "y", "f", "m")
        assert app.filters == dict.fromkeys(app.filters, "")
        assert "Filter" not in screen_text(app)
        await keys(app, pilot, "1")
        assert "/ Filter" in screen_text(app)
        assert app.view.count


def test_what_lies_in_a_span() -> None:
    request = RequestRow(10.0, "c", "GET", "/", 200, 1, 1, 2.0, 3.0, "1", "")
    assert [overlaps(request, span) for span in ((0, 4.9), (0, 5), (7, 8), (10, 11), (10.1, 11))] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert overlaps(LOG[0], (NOW - 31, NOW))
    assert not overlaps(LOG[0], (NOW - 29, NOW))
    assert overlaps(LOG[0], None)
