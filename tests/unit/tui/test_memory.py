"""The theme and the layout are there again in the next run; what cannot be remembered is no trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from faucet.tui.lane_view import LaneView
from faucet.tui.memory import SIZE_LIMIT, Layout, load, save, state_file
from faucet.tui.table import WorkerTable
from faucet.tui.table_columns import Order
from tests.support.screen import Open, keys

CHOSEN = Layout("nord", "queue", "lock", True, "requests", True, 300.0, True)


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/faucet/monitor.json"


def test_there_and_back(state: Path) -> None:
    assert load() == Layout()
    save(CHOSEN)
    assert state_file() == state
    assert load() == CHOSEN
    assert [path.name for path in state.parent.iterdir()] == ["monitor.json"]


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '{"theme": 3, "tab": null, "inverted": 1}', "[" * 3000])
def test_nonsense_is_as_good_as_nothing(state: Path, text: str) -> None:
    state.parent.mkdir(parents=True)
    state.write_text(text)
    assert load() == Layout()


def test_what_is_known_is_taken_and_what_is_not_is_left(state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_text('{"theme": "nord", "of_a_later_version": 1}')
    assert load() == Layout(theme="nord")
    state.write_text('{"theme": "nord"}' + " " * SIZE_LIMIT)
    assert load().theme == "nord"


def test_without_a_place_to_write_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no/such")
    save(CHOSEN)
    assert load() == Layout()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    save(CHOSEN)
    assert load() == Layout()


async def test_the_monitor_takes_a_layout_over_and_leaves_with_its_own(opened: Open) -> None:
    async with opened(layout=CHOSEN, read_only=True, owner=False) as (app, pilot, _):
        assert app.theme == "nord"
        assert app.tab == "queue"
        assert app.query_one(WorkerTable).order == Order("lock", inverted=True)
        assert {view.span for view in app.query(LaneView)} == {300.0}
        assert app.layout == CHOSEN
        await keys(app, pilot, "5", "right_square_bracket", "I", "q")
    assert app.left_with == Layout("nord", "lanes", "lock", False, "requests", True, 120.0, True)


async def test_what_another_version_has_written_is_passed_over(opened: Open) -> None:
    odd = Layout("no such theme", "no such view", "no such column", True, "nor this", True, 17.0, False)
    async with opened(layout=odd) as (app, _, _):
        assert app.layout == Layout(theme=app.theme, span=60.0)
