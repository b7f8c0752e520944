"""A request: its time line, what R wrote meanwhile, and the way to the next error."""

from __future__ import annotations

import shlex
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.snapshot import LogRow, RequestRow
from faucet.tui.holds import Holds
from faucet.tui.request_screen import RequestScreen, next_error
from faucet.tui.request_text import curl, is_r_error, request_details, span_of, timeline
from tests.support.goldens import compare
from tests.support.screen import Open, drawn, keys, redrawn, screen_text
from tests.support.stage_picture import NOW, REQUESTS, worker

ROW = RequestRow(NOW, "10.0.0.7", "GET", "/boom?id=7", 500, 166, 90, 0.012, 0.059, "1", "",
                 error="<simpleError in g(y): [b]database is locked>")  # fmt: skip


def wrote(text: str, when: float = NOW - 0.01, source: str = "out", worker: str = "1") -> LogRow:
    return LogRow(when, source, worker, text)


@given(st.floats(0, 100), st.floats(0.0001, 100), st.floats(0, 1), st.integers(0, 200))
def test_a_time_line_fits_and_names_all_parts(waited: float, service: float, gone: float, width: int) -> None:
    text = timeline(ROW._replace(waited=waited, service=service, left=service * gone), width, plain=False)
    assert len(text) <= max(width, 50)
    assert " R " in f" {text} " or gone == 1 or service * gone == service
    assert ("queued" in text) == (waited > 0)


def test_time_lines() -> None:
    both = ROW._replace(waited=1.0, service=3.0)
    assert timeline(both, 40, plain=True) == "|-- queued 1s ---|------- R 3s --------|"
    assert timeline(both, 15, plain=True) == "queued 1s  R 3s"
    assert timeline(ROW._replace(worker="", service=0.0, waited=2.0), 20, plain=True) == "|--- queued 2s ----|"


def test_errors_of_r_are_found_on_both_streams() -> None:
    text = "<simpleError in g(y): database is locked>"
    assert is_r_error(wrote(text))
    assert is_r_error(wrote(text, source="err"))
    assert not is_r_error(wrote(text, source="info")), "which is Faucet's own"


def test_what_a_worker_wrote_belongs_to_the_request_that_held_its_lock() -> None:
    since, until = span_of(ROW)
    assert NOW - 0.07 < since <= NOW - 0.059, "it was queued before"
    assert NOW + 0.05 < until < NOW + 0.2, "the pipe is read a little later"


def test_what_comes_after_the_next_lock_belongs_to_the_next_request() -> None:
    assert span_of(ROW, NOW + 0.02)[1] < NOW + 0.02
    assert span_of(ROW, NOW + 0.0005)[1] >= NOW
    holds = Holds()
    holds.add_requests([ROW, ROW._replace(ended=NOW + 1, service=0.4), ROW._replace(ended=NOW + 0.6, worker="2")])
    assert holds.following(ROW) == pytest.approx(NOW + 0.6)
    assert holds.following(ROW._replace(ended=NOW + 1)) == inf
    holds.see([worker("1", "busy", locked=NOW + 1.01, request="GET /", client="10.0.0.7")], NOW + 2)
    assert holds.following(ROW._replace(ended=NOW + 1)) == NOW + 1.01


def test_a_curl_command_is_one_for_a_shell() -> None:
    command = curl(ROW._replace(method="POST", target="/a?b='; rm -rf /; '&c=\x1b"), "http://127.0.0.1:3838")
    assert shlex.split(command) == ["curl", "-i", "-X", "POST", "http://127.0.0.1:3838/a?b='; rm -rf /; '&c=\\x1b"]
    assert curl(ROW, "http://h:1/") == "curl -i 'http://h:1/boom?id=7'"


def test_the_next_error_and_the_previous_one() -> None:
    rows = [ROW._replace(ended=NOW + n, status=500 if n in (1, 4) else 200) for n in range(6)]
    assert next_error(rows, rows[0], 1) is rows[1]
    assert next_error(rows, rows[1], 1) is rows[4]
    assert next_error(rows, rows[4], 1) is None
    assert next_error(rows, rows[5], -1) is rows[4]
    assert next_error(rows, rows[4], -1) is rows[1]


def test_details_say_what_is_not_known() -> None:
    assert "loading" in request_details(ROW, None, 80, plain=False)
    assert request_details(ROW, [], 80, plain=False).endswith("  nothing")
    assert "wrote" not in request_details(ROW._replace(worker=""), [], 80, plain=False)
    assert request_details(ROW, [wrote("Error: x")], 80, plain=True).isascii()


# -- in the monitor ---------------------------------------------------------------------------------------------

SAID = [wrote("GET /boom", NOW - 0.05), wrote("<simpleError in g(y): [b]database is locked>"),
        wrote("another worker's", worker="2"), wrote("Error: of another time", NOW - 3)]  # fmt: skip


async def failed(app: Any, pilot: Any, runtime: Any) -> None:
    """A request fails, and R says why."""
    runtime.logs = [row for row in SAID if row.worker == "1" and row.when > NOW - 1]
    runtime.tell({"log": SAID, "skipped": 0})
    runtime.tell({"requests": [ROW], "skipped": 0})
    await drawn(app, pilot)


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12)])
async def test_picture(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        await failed(app, pilot, runtime)
        app.show_item(ROW)
        await drawn(app, pilot)
        compare(f"request-{size[0]}x{size[1]}", screen_text(app))
        asked, arguments = runtime.asked[-1]
        assert (asked, arguments["worker"]) == ("logs", "1")
        assert arguments["since"] < NOW - 0.059 < NOW < arguments["until"]


async def test_from_error_to_error(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await failed(app, pilot, runtime)
        await keys(app, pilot, "2", "p")
        assert app.view.current is not None
        assert app.view.current.item == ROW
        await keys(app, pilot, "enter", "p")
        assert isinstance(app.screen, RequestScreen)
        assert app.screen.request == REQUESTS[4]
        await keys(app, pilot, "p")
        assert app.screen.request == REQUESTS[4], "there is no earlier one"
        await keys(app, pilot, "n")
        assert app.screen.request == ROW
        await pilot.click("#previous")
        assert app.screen.request == REQUESTS[4]
        await keys(app, pilot, "escape", "p")
        assert app.view.current.item == REQUESTS[4]
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        await commands["Next error (next-error)"]()
        assert app.view.current.item == ROW
        await keys(app, pilot, "5", "p")
        assert app.chosen == ROW, "on lanes, too"


async def test_copy_as_curl(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await failed(app, pilot, runtime)
        await keys(app, pilot, "2", "C")
        assert app.clipboard == "curl -i 'http://127.0.0.1:3838/boom?id=7'"
        await keys(app, pilot, "p", "p", "enter", "C")
        assert app.clipboard.endswith("/score?id=4'")
        await keys(app, pilot, "escape", "3", "C")
        assert [str(toast.message) for toast in app._notifications][-1] == "select a request first"


async def test_the_log_says_why_a_request_failed(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await failed(app, pilot, runtime)
        line = next(text for text in app.view.texts if "/boom?id=7 " in text)
        assert line.endswith("166B  simpleError: [b]database is locked")
        await keys(app, pilot, "v", "v", "v")
        assert app.source == "trouble"
        text = await redrawn(app, pilot)
        assert "out  <simpleError in g(y)" in text, "though it is on standard output"
        assert "out  GET /boom" not in text
