"""The monitor, key by key, against a runtime that says what the test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.binding import Binding
from textual.widgets import Button, Input

from faucet.settings.option import ACTIONS
from faucet.tui.app import Monitor
from faucet.tui.help import help_text
from faucet.tui.leaving import LEFT
from faucet.tui.palette import TEXTS, own_bindings
from faucet.tui.question import Question
from faucet.tui.request_screen import RequestScreen
from faucet.tui.screens import WorkerScreen
from faucet.tui.table import WorkerTable
from tests.support.screen import Open, drawn, keys, redrawn, screen_text
from tests.support.stage_picture import LOG, NOW, SERVICE, WORKERS, snapshot, worker

# -- what is seen -----------------------------------------------------------------------------------------------------


async def test_every_size_shows_the_table(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        for size in [(120, 36), (80, 24), (50, 12), (30, 6), (20, 3), (200, 60), (120, 36)]:
            await pilot.resize_terminal(*size)
            await drawn(app, pilot)
            assert "1 ● busy" in screen_text(app), size
        assert "nobody" not in screen_text(app)


async def test_output_of_workers_is_neither_markup_nor_control(opened: Open) -> None:
    async with opened() as (app, _, _):
        assert r"[bold red]NAs[/] introduced by coercion red\x1b[2J" in screen_text(app)


# -- actions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pressed", "asked"),
    [
        (["r", "y"], ("restart", {"worker": "1"})),
        (["down", "r", "right", "enter"], ("restart", {"worker": "2"})),
        (["end", "r"], ("restart", {"worker": "8"})),
        (["R", "y"], ("rolling-restart", {})),
        (["+"], ("scale", {"count": "+1"})),
        (["-", "y"], ("scale", {"count": "-1"})),
        (["h"], ("hold", {"worker": "1"})),
        (["end", "up", "h"], ("resume", {"worker": "7"})),
        (["K", "right", "enter"], ("kill", {"worker": "1"})),
        (["K", "y"], ("kill", {"worker": "1"})),
        (["K", "r"], ("restart", {"worker": "1"})),
        (["K", "ctrl+c", "enter"], ("kill", {"worker": "1"})),
        (["enter", "h"], ("hold", {"worker": "1"})),
    ],
)
async def test_keys_ask_the_runtime(opened: Open, pressed: list[str], asked: tuple[str, dict[str, Any]]) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, *pressed)
        assert runtime.asked[-1] == (asked[0], {**asked[1], "who": "the monitor"})
        assert [str(toast.message) for toast in app._notifications] == [f"{asked[0]} will happen"]


async def test_killing_asks_first_and_the_safe_answer_is_the_first(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "K")
        assert isinstance(app.screen, Question)
        text = screen_text(app)
        assert "POST /predict from 10.0.0.7, 1.24s so far, will fail with" in text
        assert "Another takes its place in about 1.3s." in text
        for answer in ("enter", "n", "escape"):
            await keys(app, pilot, answer, "K")
        assert {asked for asked, _ in runtime.asked} == {"details"}
    async with opened(confirm=False) as (app, pilot, runtime):
        await keys(app, pilot, "K")
        assert runtime.asked[-1][0] == "kill"


async def test_the_safe_answer_changes_nothing(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        for key, text in [
            ("r", "Its replacement is ready before the old process ends. Its request POST /predict is finished first."),
            ("R", "no request fails."),
            ("-", "5 workers become 4. The one that ends finishes its request first."),
        ]:
            for answer in ("enter", "n", "escape"):
                await keys(app, pilot, key)
                assert isinstance(app.screen, Question), key
                assert text in app.screen._text
                await keys(app, pilot, answer)
        assert runtime.asked == []
    async with opened(confirm=False) as (app, pilot, runtime):
        await keys(app, pilot, "r", "R", "-")
        assert [name for name, _ in runtime.asked] == ["restart", "rolling-restart", "scale"]


async def test_holding_the_only_worker_asks(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.tell(snapshot(workers={"1": worker("1"), "2": worker("2", "held")}))
        await keys(app, pilot, "h", "n")
        assert runtime.asked == []
        await keys(app, pilot, "h", "y", "down", "h")
        assert [name for name, _ in runtime.asked] == ["hold", "resume"]


@pytest.mark.parametrize("text", ["restart -- y", "-y", "Ry\n", "hold -y\n", "Kyrr", "r-Rhy"])
async def test_pasted_text_changes_nothing(opened: Open, text: str) -> None:
    """Without bracketed paste it comes as keys, all at once."""
    async with opened() as (app, pilot, runtime):
        app.post_message(events.Paste(text))
        await drawn(app, pilot)
        assert len(app.screen_stack) == 1
        for letter in text:
            key = {"\n": "enter", "-": "minus", " ": "space"}.get(letter, letter)
            app.post_message(events.Key(key, letter))
        await drawn(app, pilot)
        assert {name for name, _ in runtime.asked} <= {"details", "hold"}, "a hold is undone by the same key"
        assert sum(isinstance(screen, Question) for screen in app.screen_stack) <= 1


async def test_a_typed_word_is_no_answer(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, *"retry")
        assert isinstance(app.screen, Question)
        assert "answer with the arrows and enter" in screen_text(app)
        await keys(app, pilot, "right", "enter")
        assert runtime.asked == [("restart", {"worker": "1", "who": "the monitor"})]


async def test_a_refusal_is_shown(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.refuse = "worker 1 is being replaced already [x]"
        await keys(app, pilot, "r", "y")
        toast = next(iter(app._notifications))
        assert (str(toast.message), toast.severity) == ("worker 1 is being replaced already [x]", "error")


async def test_read_only_takes_the_actions_away(opened: Open) -> None:
    async with opened(read_only=True, owner=False) as (app, pilot, runtime):
        await keys(app, pilot, "r", "R", "+", "-", "h", "K")
        assert runtime.asked == []
        assert "Restart" not in screen_text(app)
        await keys(app, pilot, "enter")
        assert [button.id for button in app.screen.query(Button)] == ["close"]
        await keys(app, pilot, "K", "escape", "q")
        assert app.return_value == LEFT


async def test_the_footer_offers_what_the_service_takes(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        assert "r Restart" in screen_text(app)
        runtime.tell({"changes": {"service": SERVICE._replace(actions=("hold",))}, "now": NOW})
        text = await redrawn(app, pilot)
        assert "r Restart" not in text
        assert "h Hold" in text
        runtime.tell({"changes": {"service": SERVICE}, "now": NOW})
        assert "r Restart" in await redrawn(app, pilot)


async def test_mouse(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        table = app.query_one(WorkerTable)
        await pilot.click(WorkerTable, offset=(5, 3))
        assert table.selected is not None
        assert table.selected.row.name == "3"
        await pilot.click("#tabs", offset=(8, 0))
        assert app.tab == "requests"
        await pilot.click(WorkerTable, offset=(8, 0))
        assert table.order.column == "state"
        await pilot.click(WorkerTable, offset=(5, 3), times=2)
        await pilot.pause()
        assert isinstance(app.screen, WorkerScreen)


# -- lines ------------------------------------------------------------------------------------------------------


async def test_filter(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        before = app.view.count
        await keys(app, pilot, "slash", *"id=1[01]")
        assert app.query_one("#filter", Input).has_focus
        assert "q Quit" not in screen_text(app), "a q is part of the expression now"
        await keys(app, pilot, "enter")
        assert 0 < app.view.count < before
        assert app.view.has_focus
        await keys(app, pilot, "escape")
        assert app.view.count == before
        await keys(app, pilot, "slash", *"[bold")
        assert app.view.count == 1, "what is no regular expression is looked for as it stands"


async def test_a_filter_that_is_opened_right_after_a_tab_keeps_the_focus(opened: Open) -> None:
    """Of two keys typed fast, the first must not take it away again."""
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "4", "tab")
        assert app.view.has_focus
        app.action_tab("log")
        app.action_filter()
        await keys(app, pilot, *"sleep")
        assert app.query_one("#filter", Input).value == "sleep"


async def test_a_tick_of_the_clock_while_it_closes_is_harmless(opened: Open) -> None:
    """Textual removes the screens first, and stops the timers then."""
    async with opened() as (app, _, _):
        pass
    assert not app.screen_stack
    app._refresh()


async def test_the_log_of_one_worker_and_kinds_of_lines(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        everything = app.view.count
        await keys(app, pilot, "o")
        assert "Log of worker 1" in screen_text(app)
        assert all(" w1 " in text for text in app.view.texts)
        await keys(app, pilot, "o", "v")
        assert app.source == "output"
        assert not any(" http " in text for text in app.view.texts)
        await keys(app, pilot, "v")
        assert all(" http " in text for text in app.view.texts)
        await keys(app, pilot, "v")
        assert [text[13:20].strip() for text in app.view.texts] == ["w1  htt", "w1  err", "faucet"]
        await keys(app, pilot, "v")
        assert app.view.count == everything


async def test_following_and_scrolling(opened: Open) -> None:
    async with opened((100, 24)) as (app, pilot, runtime):
        runtime.tell({"log": [LOG[1]._replace(when=NOW, text=f"line {n}") for n in range(300)], "skipped": 0})
        await drawn(app, pilot)
        assert "line 299" in screen_text(app)
        await keys(app, pilot, "tab")
        assert app.view.has_focus
        await keys(app, pilot, "pageup")
        assert "line 299" not in screen_text(app)
        assert "not following (f)" in (await redrawn(app, pilot))
        runtime.tell({"log": [LOG[1]._replace(when=NOW + 1, text="line new")], "skipped": 7})
        assert "line new" not in (await redrawn(app, pilot)), "who has scrolled stays there"
        await keys(app, pilot, "f")
        text = await redrawn(app, pilot)
        assert "line new" in text
        assert "… 7 lines are not shown" in text
        await keys(app, pilot, "home")
        assert "serving /srv/models/api" in screen_text(app)
        await keys(app, pilot, "end")
        assert "line new" in screen_text(app)


async def test_wrap_mark_clear_copy_save(opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened() as (app, pilot, runtime):
        runtime.tell({"log": [LOG[1]._replace(when=NOW + 5, text="a" * 150 + "END")], "skipped": 0})
        await drawn(app, pilot)
        assert "END" not in screen_text(app)
        await keys(app, pilot, "w")
        assert "END" in screen_text(app)
        await keys(app, pilot, "w", "m")
        assert app.view.texts[-1].startswith("──── ")
        await keys(app, pilot, "tab", "end", "up", "up", "y")
        assert app.clipboard.endswith("END")
        await keys(app, pilot, "S")
        saved = next(tmp_path.glob("faucet-log-*.txt"))
        assert saved.read_text().splitlines() == app.view.texts
        await keys(app, pilot, "c")
        assert app.view.count == 0
        runtime.tell({"log": [LOG[1]._replace(when=NOW + 6, text="after")], "skipped": 0})
        assert "after" in (await redrawn(app, pilot))


async def test_lines_are_bounded(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        for start in range(0, 7000, 1000):
            rows = [LOG[1]._replace(when=NOW + start + n, text=f"line {start + n}") for n in range(1000)]
            runtime.tell({"log": rows, "skipped": 0})
            await drawn(app, pilot)
        assert app.view.count <= 5500
        assert "line 6999" in screen_text(app)
        assert len(app.model.log) == 5000


async def test_a_request_has_details(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "2", "tab", "up")
        assert "enter Details" in screen_text(app)
        await keys(app, pilot, "enter")
        assert isinstance(app.screen, RequestScreen)
        assert "in the queue   31ms" in screen_text(app)


async def test_sorting_and_pausing(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        table = app.query_one(WorkerTable)
        for _ in range(4):
            await keys(app, pilot, "s")
        assert table.order.column == "lock"
        assert [cell.row.name for cell in table._cells[:3]] == ["4", "1", "2"], "held longest first"
        assert "LOCK▼" in screen_text(app)
        await keys(app, pilot, "I")
        assert "LOCK▲" in screen_text(app)
        assert [cell.row.name for cell in table._cells[-3:]] == ["2", "1", "4"]
        await keys(app, pilot, "space")
        runtime.tell({"changes": {"workers": {"9": worker("9")}}, "now": NOW})
        assert "paused" in (await redrawn(app, pilot))
        assert len(table._cells) == len(WORKERS)
        await keys(app, pilot, "space")
        assert len(table._cells) == len(WORKERS) + 1


async def test_changes_come_and_rows_go(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.tell({"changes": {"workers": {"3": worker("3", "held"), "8": None}}, "now": NOW})
        text = await redrawn(app, pilot)
        assert "3 ‖ held" in text
        assert "✖ failed" not in text


async def test_only_changed_lines_are_drawn_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (app, pilot, runtime):
        table = app.query_one(WorkerTable)
        lines: list[int] = []
        monkeypatch.setattr(table, "refresh_lines", lambda y, count=1: lines.append(y))
        runtime.tell({"changes": {"workers": {"3": worker("3", requests=18378)}}, "now": NOW})
        await drawn(app, pilot)
        assert lines == [3]


async def test_palette_knows_the_actions(opened: Open) -> None:
    async with opened() as (app, _, _):
        commands = {command.title for command in app.get_system_commands(app.screen)}
        assert {
            "Rolling restart (rolling-restart)",
            "Kill worker (kill)",
            "Scale up (scale-up)",
            "Theme",
            "Screenshot",
        } <= commands
        assert "Quit" not in commands, "Textual's own does not ask"
        ids = {binding.id for binding in own_bindings(Monitor) if isinstance(binding, Binding) and binding.id}
        assert set(TEXTS) == ids == set(ACTIONS) - {"details"}, "each action has a text of its own, and nothing else"
        assert len({text for text, _ in TEXTS.values()}) == len(TEXTS), "no two look the same"
    async with opened(read_only=True) as (app, _, _):
        assert not any("(kill)" in command.title for command in app.get_system_commands(app.screen))


async def test_other_keys(opened: Open) -> None:
    async with opened(keys={"restart": "f5", "quit": "x"}) as (app, pilot, runtime):
        await keys(app, pilot, "r")
        assert runtime.asked == []
        await keys(app, pilot, "f5")
        assert runtime.asked == [], "it asks first"
        await keys(app, pilot, "y")
        assert runtime.asked[0][0] == "restart"


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "nord"])
async def test_themes(opened: Open, theme: str) -> None:
    async with opened() as (app, pilot, _):
        app.theme = theme
        assert "1 ● busy" in (await redrawn(app, pilot))


async def test_help(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "question_mark")
        text = screen_text(app)
        wrapped = [line for line in help_text(plain=False).splitlines()[:25] if line not in text]
        assert not wrapped, "each line is whole at 120 columns"
        await keys(app, pilot, "escape")
        assert len(app.screen_stack) == 1
