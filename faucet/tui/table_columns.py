"""The columns of the worker table that fit on a terminal, their widths, and the sort order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from faucet.status.columns import ALL_COLUMNS, COLUMNS, Cell, Column

DROPPED_FIRST = (
    "address", "port", "up", "requests", "rps", "p50", "rss", "pss", "uss", "cpu", "restarts", "pid", "errors", "p95",
)  # fmt: skip
"""Columns that a narrow terminal hides, in this order."""

LEAST_REQUEST = 18
"""Least width of the REQUEST column, in characters. Other columns are hidden until it fits."""

STEADY = ("name", "pid", "port", "requests", "errors", "restarts", "address")
"""Columns that are as narrow as their content. Other columns keep at least their usual width, because frequent changes
of a width would move the rest of the line."""

ASCENDING = ("name", "state", "pid", "port", "request", "address", "endpoint", "host", "serves")
"""Columns, including those of other tables, that are sorted in ascending order. All others are sorted descending."""

WIDEST = 48
"""Most characters of a column."""


@dataclass(frozen=True, slots=True)
class Order:
    """The sort order of a table: a column, and whether it is inverted."""

    column: str
    inverted: bool = False

    def by(self, column: str) -> Order:
        """Return the order after a click on the title of `column`. A second click inverts the order."""
        return Order(column, column == self.column and not self.inverted)

    def invert(self) -> Order:
        """Return the inverted order."""
        return Order(self.column, not self.inverted)

    def arrow(self, column: str, plain: bool) -> str:
        """Return the arrow after the title of `column`; empty if the table is not sorted by that column."""
        if column != self.column:
            return ""
        ascending = (column in ASCENDING) != self.inverted
        return ("^" if plain else "▲") if ascending else ("v" if plain else "▼")


def sorted_cells(cells: Iterable[Cell], order: Order) -> list[Cell]:
    """Return the workers in this order. Workers with equal values are sorted by name."""
    column = next((column for column in ALL_COLUMNS if column.id == order.column), COLUMNS[0])
    return sorted(sorted(cells, key=COLUMNS[0].order), key=column.order, reverse=order.inverted)


def widths_of(columns: Sequence[Column], texts: Iterable[Sequence[str]], before: Mapping[str, int]) -> dict[str, int]:
    """Return the width of each column in characters for `texts`, the cells of each row; at least the width `before`.

    The titles are counted with a blank for the arrow of the order.
    """
    widths = [
        max(0 if column.id in STEADY else column.width, len(column.title) + 1, before.get(column.id, 0))
        for column in columns
    ]
    for row in texts:
        widths = [max(width, min(cell_len(text), WIDEST)) for width, text in zip(widths, row, strict=True)]
    return {column.id: width for column, width in zip(columns, widths, strict=True)}


def columns_for(columns: Sequence[Column], width: int, widths: Mapping[str, int]) -> tuple[Column, ...]:
    """Return the columns that fit into `width` characters, separated by one blank."""
    shown = tuple(columns)
    for name in DROPPED_FIRST:
        if sum(widths[column.id] + 1 for column in shown if column.width) + 1 + LEAST_REQUEST <= width:
            break
        shown = tuple(column for column in shown if column.id != name)
    return shown
