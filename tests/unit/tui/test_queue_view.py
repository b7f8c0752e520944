"""The queue in the monitor: what to expect, cells, and the end of one request."""

from __future__ import annotations

import pytest

from faucet.status.queue import Prospect
from faucet.status.snapshot import WaitingRow
from faucet.tui.question import Question
from faucet.tui.queue_view import QueueHead, cell_lines, summary_lines
from faucet.tui.screens import TextScreen
from tests.support.goldens import compare
from tests.support.screen import Open, drawn, keys, redrawn, screen_text
from tests.support.stage_picture import NOW, TOTALS, snapshot

LONG = [WaitingRow(NOW - 58 + n * 0.45, f"10.0.0.{n % 5}", f"GET /report.pdf?id={n}", n + 7, 60.0) for n in range(120)]


def long_queue() -> dict[str, object]:
    return snapshot(queue=LONG, totals=TOTALS._replace(waiting=150, oldest=LONG[0].since))


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12), (200, 60)])
async def test_pictures_of_a_long_queue(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        runtime.tell(long_queue())
        await keys(app, pilot, "3", "down", "down")
        text = await redrawn(app, pilot)
        assert "GET /report.pdf?id=1" in text
        compare(f"queue-{size[0]}x{size[1]}", text)


async def test_picture_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, pilot, runtime):
        runtime.tell(long_queue())
        await keys(app, pilot, "3")
        text = await redrawn(app, pilot)
        assert text.isascii(), [line for line in text.splitlines() if not line.isascii()]
        compare("queue-ascii", text)


async def test_a_request_is_ended_after_a_question(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await keys(app, pilot, "3", "x")
        assert runtime.asked == []
        assert "select a request first" in str(next(iter(app._notifications)).message)
        await keys(app, pilot, "down", "down", "x")
        assert isinstance(app.screen, Question)
        assert "GET /score?id=1 from 10.0.0.7 has waited 300ms." in screen_text(app)
        await keys(app, pilot, "n", "x", "y")
        assert runtime.asked == [("cancel", {"request": 102, "who": "the monitor"})]


async def test_the_selected_request_stays_selected_while_others_are_served(opened: Open) -> None:
    async with opened(confirm=False) as (app, pilot, runtime):
        await keys(app, pilot, "3", "down", "down", "down")
        runtime.tell(snapshot(queue=[WaitingRow(NOW - 0.2, "10.0.0.7", "GET /score?id=2", 103)]))
        await drawn(app, pilot)
        await keys(app, pilot, "x")
        assert runtime.asked == [("cancel", {"request": 103, "who": "the monitor"})]
        runtime.tell(snapshot(queue=[WaitingRow(NOW - 0.1, "10.0.0.7", "GET /score?id=3", 104)]))
        await drawn(app, pilot)
        await keys(app, pilot, "x")
        assert len(runtime.asked) == 1, "another has taken its place"


async def test_ending_is_not_offered_elsewhere_nor_to_readers(opened: Open) -> None:
    async with opened(confirm=False) as (app, pilot, runtime):
        await keys(app, pilot, "x")
        assert "x End" not in screen_text(app)
        assert runtime.asked == []
    async with opened(confirm=False, read_only=True, owner=False) as (app, pilot, runtime):
        await keys(app, pilot, "3", "down", "x")
        assert "x End" not in screen_text(app)
        assert runtime.asked == []


async def test_a_click_on_a_cell_selects_its_request_and_enter_shows_it(opened: Open) -> None:
    async with opened() as (app, pilot, _):
        await keys(app, pilot, "3")
        await drawn(app, pilot)
        await pilot.click(QueueHead, offset=(2, 2))
        await keys(app, pilot, "enter")
        assert isinstance(app.screen, TextScreen)
        text = screen_text(app)
        assert "GET /score?id=1" in text
        assert "faucet ctl cancel 102" in text


async def test_an_empty_queue_has_no_head(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        runtime.tell(snapshot(queue=[], totals=TOTALS._replace(waiting=0, oldest=0.0)))
        await keys(app, pilot, "3")
        assert "The queue is empty." in await redrawn(app, pilot)
        assert not app.query_one(QueueHead).display


def prospects(count: int) -> list[Prospect]:
    return [Prospect(WaitingRow(0.0, "a", "GET /", n), 30.0, 30.0, 1.0, 1) for n in range(count)]


@pytest.mark.parametrize(
    ("rows", "waiting", "shown"),
    [
        (3, 3, [" ▅▅▅"]),
        (20, 20, [" ▅▅▅▅▅▅▅▅▅▅", " ▅▅▅▅▅▅▅▅▅▅"]),
        (25, 25, [" ▅▅▅▅▅▅▅▅▅▅", " ▅▅▅▅▅▅ +9"]),
        (20, 300, [" ▅▅▅▅▅▅▅▅▅▅", " ▅▅▅▅▅ +285"]),
        (0, 0, []),
    ],
)
def test_cells(rows: int, waiting: int, shown: list[str]) -> None:
    lines = cell_lines(prospects(rows), waiting, 10, 2, plain=False)
    assert ["".join(text for text, _ in line) for line in lines] == shown


def test_phrases_are_wrapped_as_a_whole() -> None:
    lines = summary_lines([("one two", False), ("three", True), ("four", False)], 20)
    assert [[text for text, _ in line] for line in lines] == [[" ", "one two   ", "three   "], [" ", "four   "]]
