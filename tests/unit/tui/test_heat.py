"""Heat maps: what is counted is shown, where it belongs; in every size, by key, mouse and palette."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot

from faucet.status.history import STEP, heat_of
from faucet.status.snapshot import HistoryRow
from faucet.tui.app import Monitor
from faucet.tui.heat import LEVELS, SPANS, columns_of, heat_map, labels, level, summary
from faucet.tui.heat_text import describe, times_text
from faucet.tui.heat_view import HeatView
from tests.support.goldens import compare
from tests.support.screen import Open, keys, redrawn
from tests.support.stage_heat import history, row
from tests.support.stage_picture import NOW, StagedRuntime


def rows_of(*times: list[float]) -> list[HistoryRow]:
    return [row(NOW // STEP * STEP - 5 * n, STEP, 0)._replace(service_heat=heat_of([sorted(each)]))
            for n, each in enumerate(times)]  # fmt: skip


@given(st.lists(st.lists(st.floats(0, 500), max_size=5), min_size=1, max_size=40), st.integers(1, 60))
def test_every_request_has_its_place(times: list[list[float]], height: int) -> None:
    rows = rows_of(*times)
    columns = columns_of(rows, 300, NOW, 60)
    found = heat_map(columns.rows, lambda each: each.service_heat, height)
    assert len(found.lines) == len(found.bounds) <= height
    for column, each in enumerate(reversed(times), 60 - len(times)):
        for (low, high), line in zip(found.bounds, found.lines, strict=True):
            here = sum(low < took <= high or (took == 0 == low) for took in each)
            assert bool(line[column]) == bool(here)
    assert all(low[0] == high[1] or low == high for low, high in zip(found.bounds, found.bounds[1:], strict=False))


@given(st.integers(1, 500), st.sampled_from(SPANS), st.floats(0, 1e6))
def test_columns_fit_and_stay_where_they_are(width: int, span: float, age: float) -> None:
    now = NOW - age
    columns = columns_of([], span, now, width)
    assert len(columns.rows) <= width
    assert columns.start(len(columns.rows)) > now >= columns.start(len(columns.rows) - 1)
    later = columns_of([], span, now + columns.seconds, width)
    assert later.first - columns.first in (1, 2)
    assert columns.start(0) <= now - span + columns.seconds


def test_levels_are_logarithmic() -> None:
    assert [level(count, 1000) for count in (0, 1, 30, 1000)] == [0, 1, 2, LEVELS]
    assert level(1, 1) == LEVELS


def test_labels_stand_where_their_value_lies() -> None:
    found = heat_map([rows_of([0.0, 0.0005, 0.02, 3.0])], lambda each: each.service_heat, 50)
    names = labels(found.bounds, 1)
    assert [name for name in names if name] == ["1s", "100ms", "10ms", "1ms", "0"] or names[-1] == "0"


def test_what_was_in_a_column() -> None:
    found = summary([row(0, 5, 0.5), row(5, 5, 0)])
    assert (found.requests, found.errors, found.waiting) == (35 + 32, 2, 28)
    assert "35 requests, 2 failed, 1 refused" in describe(NOW, 5, [row(NOW, 5, 0.5)])
    assert "no data" in describe(NOW, 5, [])
    assert "no requests" in describe(NOW, 60, [row(NOW, 5, 0)._replace(requests=0)])
    assert times_text(0, 3, 5.0) == "   "


async def heat(app: Monitor, pilot: Pilot[str], runtime: StagedRuntime) -> str:
    """The screen with the heat maps."""
    runtime.history = history
    await keys(app, pilot, "7")
    await app._fetch_history()
    return await redrawn(app, pilot)


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12), (200, 60)])
async def test_pictures(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        compare(f"heat-{size[0]}x{size[1]}", await heat(app, pilot, runtime))


async def test_pictures_without_colour_and_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened((80, 24)) as (app, pilot, runtime):
        compare("heat-no-colour", await heat(app, pilot, runtime))
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, pilot, runtime):
        text = await heat(app, pilot, runtime)
        compare("heat-ascii", text)
        assert text.isascii()


async def test_every_size_can_be_drawn(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await heat(app, pilot, runtime)
        for size in [(80, 24), (30, 6), (20, 3), (8, 4), (200, 60)]:
            await pilot.resize_terminal(*size)
            text = await redrawn(app, pilot)
        assert "service time" in text


async def test_spans_by_key_and_palette(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await heat(app, pilot, runtime)
        view = app.query_one(HeatView)
        for key, span in (("[", 3600), ("[", 21600), ("]", 3600)):
            await keys(app, pilot, {"[": "left_square_bracket", "]": "right_square_bracket"}[key])
            assert view.span == span
        assert any(do == "history" and given["by"] == 60 for do, given in runtime.asked)
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        await commands["Shorter time span (shorter)"]()
        assert view.span == 900
        assert app.feed.window == 60, "the window of the figures is another one"


async def test_a_column_is_chosen_and_a_span_limits_requests(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await heat(app, pilot, runtime)
        view = app.query_one(HeatView)
        await keys(app, pilot, "left", "left")
        assert "128 requests" in await redrawn(app, pilot)
        await pilot.click(HeatView, offset=(6 + 24, 3))
        assert "140 requests, 8 failed, 4 refused" in await redrawn(app, pilot)
        await keys(app, pilot, "m", "right", "m")
        assert app.tab == "requests"
        assert app.span is not None
        assert app.span[1] - app.span[0] == 2 * view._columns.seconds
        await keys(app, pilot, "7")
        await pilot.mouse_down(HeatView, offset=(20, 3))
        await pilot.hover(HeatView, offset=(30, 3))
        await pilot.mouse_up(HeatView, offset=(30, 3))
        assert app.span[1] - app.span[0] == 11 * view._columns.seconds


async def test_rows_that_were_not_over_are_replaced(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await heat(app, pilot, runtime)
        before = len(app.history.of(STEP))
        runtime.asked.clear()
        await app._fetch_history()
        assert runtime.asked == [("history", {"by": STEP, "since": history(STEP, NOW)[-1].when})]
        assert len(app.history.of(STEP)) == before == 180
