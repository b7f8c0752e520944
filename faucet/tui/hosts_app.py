"""`faucet top`: a live list of all running services of several machines. Enter opens the monitor of a service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from faucet.control.hosts import Found, Host
from faucet.tui.footer import KeyLine
from faucet.tui.hosts_columns import SUMMARIES, HostColumn, arranged, cells_of, columns_in, remark_of, titles_of
from faucet.tui.lines import Heading, Line, LineView
from faucet.tui.paint import ascii_only, fit
from faucet.tui.painted import PaintedScreen
from faucet.tui.table_columns import Order
from faucet.tui.top import PaintedLines
from faucet.units import counted

LOOK_SECONDS = 2.0
"""Seconds between two updates of a machine."""


class Remark(NamedTuple):
    """The line below a service: a problem, or an operation in progress."""

    found: Found


Item = Found | Remark | Heading

PAINT_OF_STATE = {"serving": "ok", "failing": "error"}


def key_of(item: Item) -> object:
    """Return the key that identifies a service while its figures change."""
    if isinstance(item, Remark):
        return item.found.host, item.found.path, "remark"
    return (item.host, item.path) if isinstance(item, Found) else item


class HostsApp(App[Found]):
    """The list. Its `run` returns the selected service, or None if the user has left."""

    CSS_PATH = "monitor.tcss"
    TITLE = "faucet top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort"),
        Binding("I", "invert", "Invert"),
        Binding("q,escape", "leave", "Quit", key_display="q"),
        Binding("ctrl+c", "leave", "Quit", show=False),
    ]

    def __init__(self, hosts: list[Host], order: Order) -> None:
        """Create the list."""
        super().__init__()
        self._hosts = hosts
        self.order = order
        self._found: dict[Host, list[Found]] = {}
        self._widths: list[int] = []
        self._columns: Sequence[HostColumn] = SUMMARIES
        self._plain = ascii_only()
        self.animation_level = "none"

    def get_default_screen(self) -> Screen[Any]:
        """Called by Textual."""
        return PaintedScreen(id="_default")

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        yield PaintedLines("hosts-title")
        yield LineView(self._line, "looking ...", "hosts", self._plain, follow=False, key=key_of)
        yield KeyLine()

    def on_mount(self) -> None:
        """Called by Textual."""
        self.set_class(self._plain, "-plain")
        self.query_one(LineView).focus()
        for host in self._hosts:
            self.run_worker(self._watch(host), group="hosts")

    async def _watch(self, host: Host) -> None:
        """Update one machine periodically. Each machine has its own task, so a slow one delays no other."""
        try:
            while True:
                self._found[host] = await host.look()
                self._draw()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            with contextlib.suppress(OSError):
                await host.close()

    def on_resize(self) -> None:
        """Called by Textual."""
        self._draw()

    def _draw(self) -> None:
        """Lay out the columns for the current services, and draw them."""
        everything = self.found
        self._columns = columns_in(self.size.width - 2, lambda columns: sum(self._fitted(columns)) + len(columns))
        self._widths = self._fitted(self._columns)
        rows: list[Item] = []
        for found in arranged(everything, self.order):
            rows.append(found)
            if found.summary is not None and remark_of(found):
                rows.append(Remark(found))
        view = self.query_one(LineView)
        view.replace([Heading(), *rows] if rows else [])
        if len(self._found) == len(self._hosts) and not rows:
            view.say("No Faucet is running here. Start one with `faucet`.")
        answered = [found.summary for found in everything if found.summary is not None]
        waiting = sum(summary.totals.waiting for summary in answered)
        busy = f"{sum(s.totals.locked for s in answered)}/{sum(s.totals.workers for s in answered)}"
        self.query_one(PaintedLines).show([[
            (" faucet top ", "strong"),
            (f" {counted(len(answered), 'service')}  busy {busy}  queue {waiting}  ", "text"),
            (f"{sum(summary.totals.rps for summary in answered):.1f} requests/s", "dim"),
        ]])  # fmt: skip

    @property
    def found(self) -> list[Found]:
        """The known services of all machines."""
        return [found for host in self._hosts for found in self._found.get(host, ())]

    def _fitted(self, columns: Sequence[HostColumn]) -> list[int]:
        """Return the widths that these columns need."""
        texts = [[title for title, _ in titles_of(columns)], *(cells_of(found, columns) for found in self.found)]
        return [max(map(cell_len, column)) + 1 for column in zip(*texts, strict=True)]  # + 1 for the sort arrow

    def _line(self, item: Item) -> Line:
        if isinstance(item, Remark):
            indent = " " * (self._widths[0] + 2)
            return Line([("", "text"), (f"{indent}{remark_of(item.found)}", "warning")], item)
        titles = titles_of(self._columns)
        ids = ["host", *(column.id for column in self._columns)]
        if isinstance(item, Heading):
            texts = [title + self.order.arrow(name, self._plain) for name, (title, _) in zip(ids, titles, strict=True)]
            paints = ["strong" if name == self.order.column else "title" for name in ids]
        else:
            texts = cells_of(item, self._columns)
            paints = [_paint(name, item) for name in ids]
        parts = [("", "text"), (" ", "text")]
        for text, paint, width, (_, right) in zip(texts, paints, self._widths, titles, strict=True):
            parts += [(fit(text, width, right, self._plain), paint), (" ", "text")]
        if isinstance(item, Found) and item.summary is None:
            parts = [*parts[:3], (f" {remark_of(item)}", "warning")]
        return Line(parts, item)

    @on(LineView.Picked)
    def _picked(self, event: LineView.Picked) -> None:
        chosen = event.item.found if isinstance(event.item, Remark) else event.item
        if isinstance(chosen, Found) and chosen.summary is not None:
            self.exit(chosen)
        elif isinstance(event.item, Heading):
            self.action_sort()

    def terminal_is_gone(self) -> None:
        """End the app after a hang-up of its terminal. Thread-safe."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self.exit)

    def action_sort(self) -> None:
        """Sort by the next column."""
        shown = ["host", *(column.id for column in self._columns)]
        index = shown.index(self.order.column) if self.order.column in shown else -1
        self.order = Order(shown[(index + 1) % len(shown)])
        self._draw()

    def action_invert(self) -> None:
        """Invert the order."""
        self.order = self.order.invert()
        self._draw()

    def action_leave(self) -> None:
        """Leave; all services go on."""
        self.exit(None)


def _paint(column: str, found: Found) -> str:
    summary = found.summary
    if summary is None:
        return "dim"
    totals = summary.totals
    alarms = {"queue": totals.waiting > totals.workers, "errors": totals.errors > 0, "refused": totals.refused > 0}
    if column == "state":
        return PAINT_OF_STATE.get(summary.service.state, "warning")
    return "error" if alarms.get(column) else "strong" if column in ("port", "serves") else "text"
