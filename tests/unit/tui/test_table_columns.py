"""Columns as wide as needed, those that there is room for, and the order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.columns import COLUMNS, POD_COLUMNS, Cell
from faucet.tui.table_columns import LEAST_REQUEST, WIDEST, Order, columns_for, sorted_cells, widths_of
from tests.support.stage_picture import NOW, WORKERS, worker


def cells(*rows: object) -> list[Cell]:
    return [Cell(row, NOW, None, False) for row in rows]  # type: ignore[arg-type]


def texts(columns: tuple[object, ...], shown: list[Cell]) -> list[list[str]]:
    return [[column.text(cell) for column in columns] for cell in shown]  # type: ignore[attr-defined]


def test_a_column_is_as_wide_as_what_is_in_it() -> None:
    name = "plumber-with-a-long-name-7d9c5b6f8-2xk8q"
    pods = cells(worker("1")._replace(name=name, key=name))
    widths = widths_of(POD_COLUMNS, texts(POD_COLUMNS, pods), {})
    assert widths["name"] == len(name)
    short = widths_of(POD_COLUMNS, texts(POD_COLUMNS, cells(worker("1"))), {})
    assert short["name"] == len("POD") + 1
    assert widths_of(POD_COLUMNS, texts(POD_COLUMNS, cells(worker("1"))), widths) == widths, "it does not shrink again"
    endless = cells(worker("1")._replace(name="x" * 200))
    assert widths_of(POD_COLUMNS, texts(POD_COLUMNS, endless), {})["name"] == WIDEST


@given(st.integers(10, 250))
def test_the_request_has_its_room_or_nothing_is_left_to_hide(width: int) -> None:
    widths = widths_of(COLUMNS, texts(COLUMNS, cells(*WORKERS)), {})
    shown = columns_for(COLUMNS, width, widths)
    room = width - sum(widths[column.id] + 1 for column in shown if column.width) - 1
    assert room >= LEAST_REQUEST or [column.id for column in shown] == ["name", "state", "lock", "request"]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (Order("lock"), ["4", "1", "2"]),
        (Order("lock", inverted=True), ["3", "4", "5"]),
        (Order("name"), ["1", "2", "3"]),
        (Order("name", inverted=True), ["8", "7", "6"]),
        (Order("no such column"), ["1", "2", "3"]),
    ],
)
def test_orders(order: Order, names: list[str]) -> None:
    assert [cell.row.name for cell in sorted_cells(cells(*WORKERS), order)[:3]] == names


def test_a_second_click_inverts_and_arrows_tell() -> None:
    order = Order("lock")
    assert order.by("lock") == Order("lock", inverted=True)
    assert order.by("lock").by("lock") == order
    assert order.by("name") == Order("name")
    assert [order.arrow("lock", plain) for plain in (False, True)] == ["▼", "v"]
    assert [order.invert().arrow("lock", plain) for plain in (False, True)] == ["▲", "^"]
    assert order.arrow("name", plain=False) == ""
    assert Order("name").arrow("name", plain=False) == "▲"
