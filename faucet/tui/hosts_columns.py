"""The columns of `faucet top`: a line for each running service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from faucet.control.hosts import Found, Summary
from faucet.status.columns import format_age, format_latency
from faucet.text import visible
from faucet.tui.table_columns import Order


class HostColumn(NamedTuple):
    """One column: its title, and how to format and sort its cells."""

    id: str
    title: str
    text: Callable[[Summary], str]
    order: Callable[[Summary], Any]
    right: bool = True


SUMMARIES = (
    HostColumn("port", "PORT", lambda s: str(s.service.port), lambda s: s.service.port),
    HostColumn("serves", "SERVES", lambda s: visible(s.service.title), lambda s: s.service.title, right=False),
    HostColumn("state", "STATE", lambda s: s.service.state, lambda s: s.service.state, right=False),
    HostColumn("busy", "BUSY", lambda s: f"{s.totals.locked}/{s.totals.workers}",
               lambda s: -s.totals.locked / max(s.totals.workers, 1)),
    HostColumn("queue", "QUEUE", lambda s: str(s.totals.waiting), lambda s: -s.totals.waiting),
    HostColumn("oldest", "OLDEST", lambda s: format_age(s.now - s.totals.oldest) if s.totals.oldest else "-",
               lambda s: s.totals.oldest or s.now + 1),
    HostColumn("rps", "RPS", lambda s: f"{s.totals.rps:.1f}", lambda s: -s.totals.rps),
    HostColumn("p95", "P95", lambda s: format_latency(s.totals.p95), lambda s: -(s.totals.p95 or 0.0)),
    HostColumn("errors", "5XX", lambda s: str(s.totals.errors), lambda s: -s.totals.errors),
    HostColumn("refused", "503", lambda s: str(s.totals.refused), lambda s: -s.totals.refused),
    HostColumn("up", "UP", lambda s: format_age(s.now - s.service.started), lambda s: s.service.started),
    HostColumn("pid", "PID", lambda s: str(s.service.pid), lambda s: s.service.pid),
)  # fmt: skip
"""Columns for a service that has answered. The name of the machine comes before them."""

DROPPED_FIRST = ("pid", "up", "refused", "oldest", "p95", "rps", "busy", "errors")
"""Columns that a narrow terminal hides, in this order."""

WIDEST_TITLE = 40


def arranged(found: Sequence[Found], order: Order) -> list[Found]:
    """Return the services in this order. Services without an answer come last, sorted by machine and socket."""
    plain = sorted(found, key=lambda each: (each.host != "here", each.host, str(each.path)))
    if order.column == "host":
        return sorted(plain, key=lambda each: (each.host != "here", each.host), reverse=order.inverted)
    column = next(column for column in SUMMARIES if column.id == order.column)
    known = [each for each in plain if each.summary is not None]
    known.sort(key=lambda each: column.order(each.summary), reverse=order.inverted)  # type: ignore[arg-type]
    return known + [each for each in plain if each.summary is None]


def titles_of(columns: Sequence[HostColumn]) -> list[tuple[str, bool]]:
    """Return the titles of all columns, and whether each is right-aligned."""
    return [("HOST", False), *((column.title, column.right) for column in columns)]


def cells_of(found: Found, columns: Sequence[HostColumn]) -> list[str]:
    """Return the cells of one service; without an answer, only its machine. A long title is cut at its start."""
    host = visible(found.host)
    if found.summary is None:
        return [host, *("" for _ in columns)]
    texts = [column.text(found.summary) for column in columns]
    return [host, *(text if len(text) <= WIDEST_TITLE else f"...{text[3 - WIDEST_TITLE :]}" for text in texts)]


def remark_of(found: Found) -> str:
    """Return the problem of a service, or its operation in progress; empty if there is neither."""
    if found.summary is None:
        where = found.path.name if found.path is not None else ""
        return visible(": ".join(filter(None, (where, found.problem))))
    service = found.summary.service
    return visible((service.trouble or service.notice).partition("\n")[0])


def columns_in(width: int, widths: Callable[[Sequence[HostColumn]], int]) -> tuple[HostColumn, ...]:
    """Return the columns that fit into `width` characters. `widths` returns the total width of columns."""
    shown: tuple[HostColumn, ...] = SUMMARIES
    for name in DROPPED_FIRST:
        if widths(shown) <= width:
            break
        shown = tuple(column for column in shown if column.id != name)
    return shown
