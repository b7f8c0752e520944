"""The layout of lock lanes: what is in the cells is what was held."""

from __future__ import annotations

from math import floor, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.snapshot import RequestRow
from faucet.tui.holds import Hold, Holds, hold_of
from faucet.tui.lane_text import axis_text
from faucet.tui.lanes import SPANS, LaneCell, Lanes, glyph, phase
from faucet.tui.paint import LANES
from tests.support.stage_picture import LOG, NOW, worker

ROW = RequestRow(NOW, "10.0.0.7", "GET", "/", 200, 0, 0, 0.0, 1.0, "1", "")


def hold(start: float, seconds: float, name: str = "1") -> Hold:
    return Hold(name, start, start + seconds, inf, "GET /", ROW)


@st.composite
def holds(draw: st.DrawFn) -> list[Hold]:
    """Holds of one lock, one after the other."""
    start, found = NOW, []
    for pause, seconds in draw(st.lists(st.tuples(st.floats(0, 20), st.floats(0.001, 40)), max_size=20)):
        found.append(hold(start + pause, seconds))
        start = found[-1].end
    return found


@given(holds(), st.sampled_from(SPANS), st.integers(1, 300), st.floats(-100, 200))
def test_cells_have_as_much_as_was_held_in_the_window(found: list[Hold], span: float, width: int, begin: float) -> None:
    step = span / width
    first = floor((NOW + begin) / step)
    lanes = Lanes(step)
    lanes.add(found, 0)
    row = lanes.row("1", first, width)
    start, end = first * step, (first + width) * step
    expected = sum(max(min(one.end, end) - max(one.start, start), 0.0) for one in found)
    assert len(row) == width
    assert sum(cell.held for cell in row if cell) == pytest.approx(expected, abs=1e-3)
    for index, cell in enumerate(row, first):
        touching = [one for one in found if one.start < (index + 1) * step - 1e-6 and one.end > index * step + 1e-6]
        assert cell is not None or not touching, "whatever was held for is seen"
        if cell is not None:
            assert cell.held <= step * 1.001 + 1e-5
            assert cell.longest <= cell.held + 1e-9
            assert cell.hold.start <= (index + 1) * step + 1e-6
            assert cell.hold.end >= index * step - 1e-6
            for plain in (False, True):
                assert len(glyph(cell, index, step, phase(cell.hold, index * step, 10), plain).strip()) == 1


@given(holds(), st.integers(1, 100))
def test_a_lock_held_now_is_drawn_as_if_it_were_over(found: list[Hold], width: int) -> None:
    if not found:
        return
    first = floor(found[-1].end) - width + 1
    done, going_on = Lanes(1.0), Lanes(1.0)
    done.add(found, 0)
    going_on.add(found[:-1], 0)
    expected = done.row("1", first, width)
    assert going_on.row("1", first, width, [found[-1]]) == expected
    assert going_on.row("1", first, width, [found[-1]]) == expected, "what is held now is not kept"


def test_what_is_past_is_not_kept() -> None:
    lanes = Lanes(1.0)
    lanes.add([hold(100, 5), hold(200, 2)], 103)
    assert [cell is not None for cell in lanes.row("1", 100, 6)] == [False, False, False, True, True, False]
    lanes.prune(150)
    assert lanes.row("1", 100, 6) == [None] * 6
    assert lanes.row("1", 200, 1)[0] is not None


@pytest.mark.parametrize(
    ("cell", "shape", "ascii_shape"),
    [
        (LaneCell(1.0, 1.0, hold(8, 4), 1), "█", "#"),
        (LaneCell(0.5, 0.5, hold(10.5, 4), 1), "▐", "["),
        (LaneCell(0.5, 0.5, hold(6.5, 4), 1), "▌", "]"),
        (LaneCell(0.3, 0.3, hold(10.2, 0.3), 1), "▂", ":"),
        (LaneCell(0.001, 0.001, hold(10.2, 0.001), 1), "▁", "."),
        (LaneCell(1.0, 0.6, hold(6.6, 4), 2), "▇", "#"),
    ],
)
def test_shapes(cell: LaneCell, shape: str, ascii_shape: str) -> None:
    assert glyph(cell, 10, 1.0, "", plain=False) == shape
    assert glyph(cell, 10, 1.0, "", plain=True) == ascii_shape


def test_phases_have_their_own_shapes() -> None:
    one = hold(0, 100)._replace(left=50.0)
    assert [phase(one, moment, 10) for moment in (5, 20, 60)] == ["", "slow", "left"]
    cell = LaneCell(1.0, 1.0, one, 1)
    for plain in (False, True):
        assert len({glyph(cell, 10, 1.0, kind, plain) for kind in ("", "slow", "left")}) == 3


def test_an_axis_has_as_many_characters_as_cells() -> None:
    for width in (1, 3, 20, 55, 200):
        for span in SPANS:
            step = span / width
            assert len(axis_text(floor(NOW / step), width, step)) == width


def test_red_is_no_colour_of_an_endpoint() -> None:
    assert "error" not in LANES


# -- which locks were held --------------------------------------------------------------------------------------


def request(start: float, seconds: float, status: int = 200) -> RequestRow:
    return ROW._replace(ended=start + seconds, service=seconds, status=status)


def test_a_request_without_a_worker_held_no_lock() -> None:
    assert hold_of(ROW._replace(worker="")) is None
    assert hold_of(ROW._replace(service=0.0)) is None
    known = hold_of(ROW._replace(worker="1", target="/sales/17?x=1"))
    assert known is not None
    assert known.endpoint == "GET /sales/<n>"


def test_the_time_after_the_client_left_is_known() -> None:
    known = hold_of(request(NOW, 9, 499)._replace(left=5.0))
    assert known is not None
    assert (known.start, known.end, known.left) == (NOW, NOW + 9, NOW + 4)
    holds = Holds()
    holds.see([worker("1", "busy", locked=NOW, request="GET /slow", client="10.0.0.7", left=NOW + 1)], NOW + 2)
    assert [one.left for one in holds.held(NOW + 2)] == [NOW + 1]


def test_a_lock_lasts_until_it_is_free_though_its_request_has_ended() -> None:
    holds = Holds()
    busy = worker("1", "busy", locked=NOW, request="GET /slow", client="10.0.0.7")
    holds.see([busy], NOW + 2)
    holds.add_requests([request(NOW + 0.01, 1.99, 504)])
    assert not holds.finished
    holds.see([busy], NOW + 7)
    (held,) = holds.held(NOW + 7)
    assert (held.start, held.end, held.left) == (NOW, NOW + 7, NOW + 2)
    holds.see([worker("1")], NOW + 7.5)
    (done,) = holds.finished
    assert (done.end, done.left) == (NOW + 7, NOW + 2)
    assert holds.held(NOW + 8) == []


def test_the_next_lock_is_not_that_of_a_request_that_has_ended() -> None:
    holds = Holds()
    holds.see([worker("1", "busy", locked=NOW + 5, request="GET /", client="10.0.0.7")], NOW + 6)
    holds.add_requests([request(NOW, 4, 504), request(NOW + 5, 0.02)])
    assert [one.end for one in holds.finished] == [NOW + 4, NOW + 5.02]


def test_a_worker_that_replaces_another_has_its_lane() -> None:
    holds = Holds()
    rows = [worker("2", key=name)._replace(name=name, locked=NOW, request="GET /") for name in ("2", "2+", "2-")]
    holds.see(rows, NOW)
    assert {one.worker for one in holds.held(NOW)} == {"2"}


def test_marks_are_starts_and_trouble() -> None:
    holds = Holds()
    holds.see([worker("1"), worker("5", "starting")], NOW)
    holds.see([worker("1")], NOW + 1)
    holds.see([worker("1", pid=1, since=NOW + 1)], NOW + 2)
    holds.see_event(LOG[3])
    holds.see_event(LOG[4])
    assert [(mark.worker, mark.when, mark.trouble) for mark in holds.marks] == [
        ("1", NOW - 7980, False), ("1", NOW + 1, False), ("6", LOG[3].when, True),
    ]  # fmt: skip


def test_what_was_left_out_is_not_known() -> None:
    holds = Holds()
    holds.add_requests([request(NOW, 1)])
    holds.see_skipped(request(NOW + 5, 1))
    assert list(holds.unknown) == [(NOW + 1, NOW + 5)]
