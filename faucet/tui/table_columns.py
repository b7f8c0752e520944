"""Which columns of the worker table a terminal has room for, how wide each is, and which way it is sorted."""

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
"""Characters for the REQUEST column; other columns are hidden until it has them."""

STEADY = ("name", "pid", "port", "requests", "errors", "restarts", "address")
"""Columns as narrow as what is in them. Others have their usual width at least: what changes all the time would move
the rest of the line."""

ASCENDING = ("name", "state", "pid", "port", "request", "address", "endpoint", "host", "serves")
"""Columns, also of endpoints, that are sorted with the smallest first; of all others the largest is."""

WIDEST = 48
"""Characters of a column at most."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a table is sorted by."""

    column: str
    inverted: bool = False

    def by(self, column: str) -> Order:
        """Return the order after a click on the title of `column`: a second one inverts it."""
        return Order(column, column == self.column and not self.inverted)

    def invert(self) -> Order:
        """Return the other way round."""
        return Order(self.column, not self.inverted)

    def arrow(self, column: str, plain: bool) -> str:
        """Return the arrow behind the title of `column`; nothing, if it is not the one that is sorted by."""
        if column != self.column:
            return ""
        ascending = (column in ASCENDING) != self.inverted
        return ("^" if plain else "▲") if ascending else ("v" if plain else "▼")


def sorted_cells(cells: Iterable[Cell], order: Order) -> list[Cell]:
    """Return the workers in this order; equal ones by their names."""
    column = next((column for column in ALL_COLUMNS if column.id == order.column), COLUMNS[0])
    return sorted(sorted(cells, key=COLUMNS[0].order), key=column.order, reverse=order.inverted)


def widths_of(columns: Sequence[Column], texts: Iterable[Sequence[str]], before: Mapping[str, int]) -> dict[str, int]:
    """Return how many characters each column needs for `texts`, the cells of each row; at least as many as `before`.

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
    """Return the columns that fit into `width` characters, with one blank between two columns."""
    shown = tuple(columns)
    for name in DROPPED_FIRST:
        if sum(widths[column.id] + 1 for column in shown if column.width) + 1 + LEAST_REQUEST <= width:
            break
        shown = tuple(column for column in shown if column.id != name)
    return shown
