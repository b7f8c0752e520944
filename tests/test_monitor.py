"""The monitor, key by key, against a runtime that says what the test wants; pictures are compared as text."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from faucet.settings import MonitorSettings
from faucet.tui.app import LEFT, LOST, STOPPED, Monitor
from faucet.tui.help import help_text
from faucet.tui.lines import LineView
from faucet.tui.model import Model
from faucet.tui.screens import Question, TextScreen, WorkerScreen
from faucet.tui.table import WorkerTable
from tests.support.stage_picture import LOG, NOW, SERVICE, WORKERS, StagedRuntime, snapshot, worker

GOLDENS = Path(__file__).parent / "goldens"

Open = Callable[..., AbstractAsyncContextManager[tuple[Monitor, Pilot[str], StagedRuntime]]]


def screen_text(app: Monitor) -> str:
    """What is on the screen, as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a monitor of some size, at a fixed moment, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr("faucet.tui.paint.ascii_only", lambda: False)
    monkeypatch.setattr("faucet.tui.app.ascii_only", lambda: bool(os.environ.get("FAUCET_ASCII")))
    monkeypatch.setattr(Model, "now", lambda self: NOW)
    monkeypatch.setattr("faucet.tui.app.sample_usage", lambda pids, seen: {})
    import time

    time.tzset()

    @asynccontextmanager
    async def open_monitor(
        size: tuple[int, int] = (120, 36), owner: bool = True, read_only: bool = False, **settings: Any
    ) -> AsyncIterator[tuple[Monitor, Pilot[str], StagedRuntime]]:
        runtime = StagedRuntime()
        app = Monitor(runtime.connect, MonitorSettings(**settings), owner=owner, read_only=read_only)  # type: ignore[arg-type]
        async with app.run_test(size=size) as pilot:
            await drawn(app, pilot)
            yield app, pilot, runtime

    return open_monitor


async def drawn(app: Monitor, pilot: Pilot[str]) -> None:
    """Draw now, and wait until that is done."""
    await pilot.pause()
    app._drawn = -1
    app._refresh()
    await pilot.pause()


async def keys(app: Monitor, pilot: Pilot[str], *names: str) -> None:
    """Press keys; wait until all they lead to has been done."""
    await pilot.press(*names)
    await pilot.pause()


def compare(name: str, text: str) -> None:
    """With the golden file; with FAUCET_GOLDENS=write it is written instead."""
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("FAUCET_GOLDENS") == "write":
        path.write_text(text)
    assert text == path.read_text()


# -- pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("120x36", (120, 36)), ("80x24", (80, 24)), ("50x12", (50, 12))])
async def test_pictures(opened: Open, name: str, size: tuple[int, int]) -> None:
    async with opened(size) as (app, _, _):
        compare(name, screen_text(app))


@pytest.mark.parametrize("tab", ["requests", "queue", "events"])
async def test_pictures_of_the_tabs(opened: Open, tab: str) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, {"requests": "2", "queue": "3", "events": "4"}[tab])
        compare(tab, screen_text(app))


async def test_picture_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, _, _):
        text = screen_text(app)
        table = text.split("Log")[0]
        assert table.isascii(), table
        compare("ascii", text)


async def test_a_picture_of_workers_that_cannot_be_started(opened: Open) -> None:
    """What is wrong has a line of its own, and the table names it first."""
    trouble = (
        "no worker can be started: The R package forecast is missing; install it with: "
        "Rscript -e 'install.packages(\"forecast\")'"
    )
    service = SERVICE._replace(state="failing", trouble=trouble, notice=trouble)
    reason = "forecast is missing (R package); next try at 08:00:04"
    rows = [worker(name, "failed", reason=reason, pid=0, port=0, since=0.0, restarts=5) for name in ("1", "2")]
    async with opened((80, 24)) as (app, pilot, runtime):
        runtime.tell(snapshot(service=service, workers={row.key: row for row in rows}))
        await drawn(app, pilot)
        text = screen_text(app)
        assert "The R package forecast is missing" in text
        compare("failing-80x24", text)
        runtime.tell(snapshot(service=SERVICE._replace(notice="rolling restart: 0 of 2, worker 1", trouble=trouble)))
        await drawn(app, pilot)
        assert "rolling restart: 0" in screen_text(app)
        assert "The R package forecast is missing" in screen_text(app), "until the next success"
        runtime.tell(snapshot())
        await drawn(app, pilot)
        assert "forecast" not in screen_text(app)


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


async def test_details_of_a_worker(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "enter")
        assert isinstance(app.screen, WorkerScreen)
        compare("details", screen_text(app))
        assert runtime.asked[0] == ("details", {"worker": "1"})
        await keys(app, pilot, "r")
        assert not isinstance(app.screen, WorkerScreen)
        assert runtime.asked[-1] == ("restart", {"worker": "1", "who": "the monitor"})


# -- actions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pressed", "asked"),
    [
        (["r"], ("restart", {"worker": "1"})),
        (["down", "r"], ("restart", {"worker": "2"})),
        (["R"], ("rolling-restart", {})),
        (["+"], ("scale", {"count": "+1"})),
        (["-"], ("scale", {"count": "-1"})),
        (["h"], ("hold", {"worker": "1"})),
        (["end", "up", "h"], ("resume", {"worker": "7"})),
        (["K", "right", "enter"], ("kill", {"worker": "1"})),
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
        assert "will fail" in screen_text(app)
        await keys(app, pilot, "enter")
        assert runtime.asked == []
    async with opened(confirm=False) as (app, pilot, runtime):
        await keys(app, pilot, "K")
        assert runtime.asked[-1][0] == "kill"


async def test_a_refusal_is_shown(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.refuse = "worker 1 is being replaced already [x]"
        await keys(app, pilot, "r")
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


async def test_mouse(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        table = app.query_one(WorkerTable)
        await pilot.click(WorkerTable, offset=(5, 3))
        assert table.selected is not None
        assert table.selected.row.name == "3"
        await pilot.click("#tabs", offset=(8, 0))
        assert app.tab == "requests"
        await pilot.click(WorkerTable, offset=(8, 0))
        assert table.sorted_by == "STATE"
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


async def redrawn(app: Monitor, pilot: Pilot[str]) -> str:
    """Redraw; return the text on the screen."""
    await drawn(app, pilot)
    return screen_text(app)


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
        assert isinstance(app.screen, TextScreen)
        assert "in the queue   31ms" in screen_text(app)


async def test_sorting_and_pausing(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        table = app.query_one(WorkerTable)
        for _ in range(4):
            await keys(app, pilot, "s")
        assert table.sorted_by == "LOCK"
        assert [cell.row.name for cell in table._cells[:3]] == ["4", "1", "2"], "held longest first"
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
        assert {"Rolling (rolling-restart)", "Kill (kill)", "Theme", "Screenshot"} <= commands
        assert "Quit" not in commands, "Textual's own does not ask"
    async with opened(read_only=True) as (app, _, _):
        assert not any("(kill)" in command.title for command in app.get_system_commands(app.screen))


async def test_other_keys(opened: Open) -> None:
    async with opened(keys={"restart": "f5", "quit": "x"}) as (app, pilot, runtime):
        await keys(app, pilot, "r")
        assert runtime.asked == []
        await keys(app, pilot, "f5")
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


# -- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pressed", "asked", "outcome"),
    [
        (["enter"], "detach", LEFT),
        (["right", "enter"], "stop", STOPPED),
        (["ctrl+c", "ctrl+c", "enter"], "stop", STOPPED),
    ],
)
async def test_leaving_as_owner(opened: Open, pressed: list[str], asked: str, outcome: str) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "q")
        assert isinstance(app.screen, Question)
        assert "3 in progress, 3 queued" in screen_text(app)
        await keys(app, pilot, *pressed)
        assert runtime.asked[-1][0] == asked
        assert runtime.asked[-1][1].get("now", False) is ("ctrl+c" in pressed)
    assert app.return_value == outcome


@pytest.mark.parametrize("size", [(120, 36), (50, 12), (40, 9)])
async def test_all_answers_can_be_seen(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, _):
        await keys(app, pilot, "q")
        for label in ("Detach, keep serving", "Stop, drain first", "Stop now", "Cancel"):
            assert label in screen_text(app)
            assert label in str(app.focused.label)  # type: ignore[union-attr]
            await keys(app, pilot, "down")


async def test_while_it_drains_nobody_is_promised_that_it_stays(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        service = app.model.service
        assert service is not None
        runtime.tell({"changes": {"service": service._replace(state="draining")}, "now": NOW})
        await keys(app, pilot, "q")
        assert "The service is stopping" in screen_text(app)
        assert "Detach" not in screen_text(app)
        await keys(app, pilot, "down", "enter")
        assert runtime.asked[-1] == ("stop", {"who": "the monitor", "now": True})


async def test_the_picture_goes_on_behind_a_question_and_while_nothing_is_heard(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(refresh=10.0) as (app, pilot, runtime):
        monkeypatch.setattr(Model, "now", lambda self: NOW + 3600)
        runtime.tell({"changes": {"workers": dict.fromkeys(("1", "2", "4", "4-48215")), "queue": []}, "now": NOW})
        await pilot.pause(1.3)
        assert "up 3h13m" in screen_text(app)
        await keys(app, pilot, "q")
        monkeypatch.setattr(Model, "now", lambda self: NOW + 7200)
        await pilot.pause(1.3)
        assert "up 4h13m" in screen_text(app)


async def test_the_details_of_a_line_are_no_control_sequences_either(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "slash", *"Warning", "enter", "enter")
        assert isinstance(app.screen, TextScreen)
        assert r"introduced by coercion red\x1b[2J" in screen_text(app)


async def test_a_filter_does_not_look_at_the_time(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "slash", *"07:59")
        assert app.view.count == 0


async def test_staying(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        for answer in (["escape"], ["left", "enter"]):
            await keys(app, pilot, "q", *answer)
            assert len(app.screen_stack) == 1
        assert runtime.asked == []
        assert app.return_value is None


async def test_a_lost_connection_is_told_and_made_again(opened: Open) -> None:
    async with opened(owner=False) as (app, pilot, runtime):
        runtime.refuse = "gone"
        runtime.lose()
        await pilot.pause(0.1)
        assert "connection lost" in (await redrawn(app, pilot))
        await pilot.pause(0.5)
        assert "no Faucet listens there; reconnecting" in (await redrawn(app, pilot))
        await keys(app, pilot, "r")
        assert "not connected" in str(next(iter(app._notifications)).message)
        runtime.refuse = ""
        for _ in range(50):
            if runtime.connections == 2:
                break
            await pilot.pause(0.1)
        text = await redrawn(app, pilot)
        assert "serving" in text
        assert text.count("scoring 991") == 1, "what is told again is not shown twice"


async def test_a_runtime_of_our_own_that_is_gone_ends_the_monitor(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.lose()
        await pilot.pause(0.1)
    assert app.return_value == LOST


async def test_the_whole_picture_may_change(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.tell(snapshot(workers={}, queue=[], seconds=[]))
        text = await redrawn(app, pilot)
        assert "● busy" not in text
        assert app.query_one("#queue", LineView) is not None
        await keys(app, pilot, "3", "enter", "r", "h", "K")
        assert "The queue is empty." in (await redrawn(app, pilot))


PODS = {
    name: worker("1", state)._replace(key=name, name=name, pid=0, port=8000, address=f"10.244.1.{number}:8000", **more)
    for number, (name, state, more) in enumerate(
        [("plumber-7d9c5b6f8-2xk8q", "busy", {"locked": NOW - 2, "request": "GET /sleep", "client": "10.0.0.7"}),
         ("plumber-7d9c5b6f8-9qkzp", "ready", {}),
         ("plumber-7d9c5b6f8-lm4vd", "backoff", {"reason": "Connection refused; next try at 08:00:04"})], 11,
    )
}  # fmt: skip

FAR = SERVICE._replace(
    title="http://plumber:8000", detail="its pods", mode="k8s", owned=False, link="ops@bastion", link_state="up",
    resolved_by="DNS at 10.96.0.10, from ops@bastion", resolved=NOW - 2, link_since=NOW - 11000,
    link_detail="aes128-gcm, 12ms",
)  # fmt: skip


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
async def test_pods_through_a_bastion(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        runtime.tell(snapshot(service=FAR, workers=PODS))
        compare(f"pods-{size[0]}x{size[1]}", await redrawn(app, pilot))
        await keys(app, pilot, "d", "t")
        assert [asked for asked, _ in runtime.asked] == ["drop", "retry"]
        await keys(app, pilot, "K", "R", "+")
        assert len(runtime.asked) == 2, "pods are the cluster's to kill, roll and scale"
        await keys(app, pilot, "r")
        assert "Delete pod plumber-7d9c5b6f8-2xk8q" in screen_text(app)
        await keys(app, pilot, "tab", "enter")
        await pilot.pause()
        runtime.tell(
            snapshot(
                service=FAR._replace(link_state="down", notice="ssh link to ops@bastion: reconnecting in 4s: lost")
            )
        )
        assert "down 3h03m" in await redrawn(app, pilot)
