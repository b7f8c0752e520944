"""Leaving the monitor; a connection that is lost; what goes on behind a question."""

from __future__ import annotations

import pytest

from faucet.tui.leaving import LEFT, LOST, STOPPED
from faucet.tui.lines import LineView
from faucet.tui.model import Model
from faucet.tui.question import Question
from faucet.tui.screens import TextScreen
from tests.support.screen import Open, keys, redrawn, screen_text
from tests.support.stage_picture import NOW, snapshot


@pytest.mark.parametrize(
    ("pressed", "asked", "outcome"),
    [
        (["enter"], "detach", LEFT),
        (["d"], "detach", LEFT),
        (["s"], "stop", STOPPED),
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
        for label in ("Detach, keep serving", "Stop, drain first", "Stop now", "Stay"):
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


@pytest.mark.slow
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
        for answer in (["escape"], ["left", "enter"], ["n"]):
            await keys(app, pilot, "q", *answer)
            assert len(app.screen_stack) == 1
        assert runtime.asked == []
        assert app.return_value is None


@pytest.mark.slow
async def test_a_lost_connection_is_told_and_made_again(opened: Open) -> None:
    async with opened(owner=False) as (app, pilot, runtime):
        runtime.refuse = "gone"
        runtime.lose()
        await pilot.pause(0.1)
        assert "connection lost" in (await redrawn(app, pilot))
        await pilot.pause(0.5)
        assert "no Faucet listens there; reconnecting" in (await redrawn(app, pilot))
        await keys(app, pilot, "r", "y")
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
