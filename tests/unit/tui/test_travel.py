"""Time travel: what is shown is what was, by key, mouse and palette; and a recording instead of a service."""

from __future__ import annotations

import os
from datetime import datetime

import pytest

from faucet.control.recording import Recording, RecordingError, Writer, moment_of
from faucet.settings import MonitorSettings
from faucet.status.history import STEP
from faucet.status.snapshot import LogRow, RequestRow
from faucet.tui.app import Monitor
from faucet.tui.model import Model
from faucet.tui.replay import Player, endpoints_of, history_of, requests_of
from faucet.tui.request_screen import RequestScreen
from faucet.tui.time_line import TimeLine
from tests.support.goldens import compare
from tests.support.screen import Open, keys, redrawn, screen_text
from tests.support.stage_picture import NOW, TOTALS, StagedRuntime, snapshot


def request(ended: float, target: str = "/a", status: int = 200) -> RequestRow:
    return RequestRow(ended, "10.0.0.7", "GET", target, status, 1, 1, 0.1, 0.2, "1", "")


def messages(seconds: int) -> list[dict[str, object]]:
    """What a service told for so long: a request, a line and another number of queued requests each second."""
    told: list[dict[str, object]] = [snapshot(), {"log": [], "skipped": 0}]
    for second in range(1, seconds + 1):
        now = NOW + second
        told += [{"changes": {"totals": TOTALS._replace(waiting=second)}, "now": now},
                 {"log": [LogRow(now - 0.1, "out", "1", f"line {second}")], "skipped": 0},
                 {"requests": [request(now - 0.2, f"/r{second}")], "skipped": 0}]  # fmt: skip
    return told


def recorded(seconds: int) -> Recording:
    recording, writer = Recording(), Writer()
    for message in messages(seconds):
        recording.add(writer.lines(message))
    return recording


def shown(model: Model) -> tuple[int, str, str]:
    assert model.totals is not None
    last = [item.text for item in model.log if isinstance(item, LogRow)][-1:]
    return model.totals.waiting, "".join(last), "".join(row.target for row in list(model.requests)[-1:])


def test_any_moment_is_as_it_was_from_wherever_one_comes() -> None:
    recording = recorded(600)
    player = Player(recording)
    for second in (300, 301, 299, 10, 590, 600, 400, 399, 398, 460, 600):
        player.seek(NOW + second)
        assert shown(player.model) == (second, f"line {second}", f"/r{second}")
        assert player.model.now() == NOW + second
    player.seek(NOW + 9999)
    assert player.at == recording.end
    player.seek(0)
    assert player.at == recording.start


def test_a_recording_goes_on_while_it_is_shown_and_its_oldest_part_goes() -> None:
    recording, writer = Recording(seconds=60), Writer()
    told = messages(400)
    for message in told[: 3 * 100 + 2]:
        recording.add(writer.lines(message))
    player = Player(recording)
    player.seek(NOW + 100)
    for message in told[3 * 100 + 2 :]:
        recording.add(writer.lines(message))
    player.seek(NOW + 101)
    assert player.at == recording.start > NOW + 200, "the moment that was shown is not kept any more"
    player.seek(NOW + 400)
    assert shown(player.model) == (400, "line 400", "/r400")


def test_a_new_connection_begins_anew() -> None:
    recording, writer = Recording(), Writer()
    for message in [*messages(5), {**snapshot(), "now": NOW + 10}, {"requests": [request(NOW + 9)], "skipped": 3}]:
        recording.add(writer.lines(message))
    player = Player(recording)
    player.seek(NOW + 10)
    assert [row.target for row in player.model.requests] == ["/a"]


def test_endpoints_and_history_are_made_of_the_requests() -> None:
    player = Player(recorded(100))
    player.seek(NOW + 100)
    rows = requests_of(player.model, NOW)
    assert len(rows) == 100
    found = endpoints_of([row._replace(target="/a") for row in rows], NOW + 100, 60)
    assert [(row.endpoint, row.p50) for row in found] == [("GET /a", 0.2)]
    history = history_of(rows, STEP)
    assert sum(row.requests for row in history) == 100
    assert {row.p95 for row in history} == {0.2}


def test_a_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = recorded(100)
    later = datetime.fromtimestamp(NOW + 50)
    assert moment_of(f"{later:%H:%M:%S}", recording) == int(NOW + 50)
    for text, why in (("3 o'clock", "invalid time"), (f"{datetime.fromtimestamp(NOW - 60):%H:%M:%S}", "is from")):
        with pytest.raises(RecordingError, match=why):
            moment_of(text, recording)


def tell(runtime: StagedRuntime, seconds: int) -> None:
    for message in messages(seconds)[2:]:
        runtime.tell(message)


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12), (200, 60)])
async def test_pictures(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        tell(runtime, 200)
        await keys(app, pilot, "space", *["comma"] * 10)
        compare(f"past-{size[0]}x{size[1]}", screen_text(app))


async def test_picture_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, pilot, runtime):
        tell(runtime, 200)
        await keys(app, pilot, "space", "less_than_sign")
        assert screen_text(app).isascii()
        compare("past-ascii", screen_text(app))


async def test_pause_goes_back_and_space_comes_back(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        tell(runtime, 200)
        await redrawn(app, pilot)
        await keys(app, pilot, "left")
        assert app.player is None, "only while paused"
        await keys(app, pilot, "space", "left", "left", "less_than_sign", "right")
        assert app.player is not None
        assert app.player.at == NOW + 200 - 61
        text = screen_text(app)
        assert "line 139" in text
        assert "line 140" not in text
        assert "queue 139" in text
        assert not app.check_action("restart", ()), "what was cannot be changed"
        runtime.tell({"changes": {"totals": TOTALS._replace(waiting=777)}, "now": NOW + 201})
        await pilot.pause()
        assert app.model.totals is not None
        assert app.model.totals.waiting == 139
        runtime.asked.clear()
        app.show_item(request(NOW + 138.95))
        await pilot.pause()
        assert isinstance(app.screen, RequestScreen)
        assert "line 139" in screen_text(app)
        assert not app.check_action("travel", ())
        await keys(app, pilot, "escape")
        app.show_worker("1")
        await keys(app, pilot, "3")
        assert not app.check_action("cancel", ())
        assert runtime.asked == []
        await keys(app, pilot, "1", "home")
        assert app.player.at == NOW
        await keys(app, pilot, "end", "2")
        assert app.player.at == NOW + 201
        assert "/r200" in screen_text(app)
        await keys(app, pilot, "space")
        assert app.player is None
        assert "queue 777" in await redrawn(app, pilot)
        assert app.check_action("restart", ())


async def test_by_mouse_and_palette_and_on_lanes_by_comma(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        tell(runtime, 200)
        await keys(app, pilot, "5", "space", "left")
        assert app.player is None, "on the lanes the arrows select requests"
        await keys(app, pilot, "comma")
        line = app.query_one(TimeLine)
        assert app.player is not None
        await pilot.click(TimeLine, offset=(line._first, 0))
        assert app.player.at == NOW
        await pilot.click(TimeLine, offset=(line._first + line._cells - 1, 0))
        assert app.player.at == NOW + 200
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        await commands["Back 1 minute (minute-back)"]()
        assert app.player.at == NOW + 140
        await keys(app, pilot, "6")
        assert "GET /r" in screen_text(app)


async def test_keys_are_text_while_the_filter_is_typed(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        tell(runtime, 20)
        await keys(app, pilot, "space", "slash", "a", "comma", "less_than_sign", "left", "full_stop")
        assert app.filters["log"] == "a,.<"
        assert app.player is None


async def test_a_recording_instead_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.tui.app.ascii_only", lambda: bool(os.environ.get("FAUCET_ASCII")))
    now = [100.0]
    monkeypatch.setattr("faucet.tui.travel.monotonic", lambda: now[0])
    app = Monitor(None, MonitorSettings(), owner=False, read_only=True, recording=recorded(100), start=NOW + 50)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        assert app.player is not None
        assert "line 50" in screen_text(app)
        assert "recording" in screen_text(app)
        assert not app.check_action("restart", ())
        app._played = 100.0
        now[0] += 3
        app._refresh()
        await pilot.pause()
        assert app.player.at == NOW + 53
        await keys(app, pilot, "7")
        assert "service time" in screen_text(app)
        await keys(app, pilot, "space")
        assert app.paused
        await keys(app, pilot, "6")
        assert "GET /r" in screen_text(app)
        await keys(app, pilot, "space", "end")
        app._refresh()
        assert app.paused, "at the end"
        await keys(app, pilot, "q")
