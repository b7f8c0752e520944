"""Lock lanes: a line per worker, in which each hold of its lock is a bar. The module `lanes` lays out the cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, islice
from math import floor
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from faucet.status.format import format_span
from faucet.status.moments import WINDOW
from faucet.status.snapshot import LogRow, RequestRow, WorkerRow
from faucet.tui.holds import SAME_START, Hold, Holds, Mark, lane_of
from faucet.tui.lane_text import axis_text, describe_item, label_of, now_text
from faucet.tui.lanes import LaneCell, Lanes, glyph, phase
from faucet.tui.paint import LANES, fit
from faucet.tui.painted import Painted

Part = tuple[str, str]
Item = Hold | Mark

ROOM_FOR_NOW = 110
"""Terminal width from which the current request of each worker is shown after its lane."""

NOW_WIDTH = 28

COLOURS_REMEMBERED = 500
"""Endpoints whose colour is remembered. When there are more, all colours are assigned again."""


class LaneView(Painted, can_focus=True):
    """The lanes. With `beside`, the view is next to the worker table, and each lane is on the line of its worker."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Previous", show=False),
        Binding("right", "step(1)", "Next", show=False),
        Binding("up,k", "lane(-1)", "Up", show=False),
        Binding("down,j", "lane(1)", "Down", show=False),
        Binding("end,G", "now", "Now", show=False),
        Binding("enter", "pick", "Details", key_display="enter"),
    ]

    class Picked(Message):
        """The user asks for the details of a request, a worker or an event."""

        def __init__(self, item: RequestRow | WorkerRow | LogRow) -> None:
            super().__init__()
            self.item = item

    class Spanned(Message):
        """The user has selected a span of time, in seconds since the epoch."""

        def __init__(self, start: float, end: float) -> None:
            super().__init__()
            self.start = start
            self.end = end

    def __init__(self, id: str, slow: float, plain: bool, beside: bool = False) -> None:
        super().__init__(id=id)
        self._slow = slow
        self._plain = plain
        self._beside = beside
        self.span = WINDOW
        self._holds = Holds()
        self._seen = 0
        self._names: list[str] = []
        self._now = 0.0
        self._top = 0
        self._apart = 1
        self._lanes = Lanes(1.0)
        self._colours: dict[str, str] = {}
        self._cursor: tuple[str, float] | None = None  # lane, and the start of the item
        self._mark: tuple[float, float] | None = None
        self._drag: tuple[int, int] | None = None
        self._selected: tuple[float, float] | None = None
        self._lines: list[list[Part]] = []
        self._measure()

    # -- content -----------------------------------------------------------------------------------------------

    def show(self, names: Sequence[str], holds: Holds, now: float, top: int = 0) -> None:
        """Show the lanes of these workers at `now`. `top` is the first worker visible in the table beside the view."""
        if holds is not self._holds:
            self._holds, self._seen, self._lanes = holds, 0, Lanes(1.0)
        self._names = list(names) if self._beside else list(dict.fromkeys(map(lane_of, names)))
        self._now = now
        if self._beside:
            self._top = top
        if self.size.width:
            self._draw()

    def zoom(self, span: float) -> None:
        """Show the last `span` seconds."""
        self.span = span
        if self.size.width:
            self._draw()

    def select(self, span: tuple[float, float] | None) -> None:
        """Show the selected span; None: no span is selected."""
        self._selected, self._mark = span, None
        self._draw()

    def _measure(self) -> None:
        """Compute the number of cells in a lane, their duration, and the number of the first; once for each drawing."""
        self._label_width = max((len(label_of(name)) for name in self._names), default=1) + 6
        room = 0 if self._beside or self.size.width < ROOM_FOR_NOW else NOW_WIDTH
        self._width = max(self.size.width - self._label_width - room, 1)
        self._step = self.span / self._width
        self._first = floor(self._now / self._step) - self._width + 1
        self._unknown = [False] * self._width
        for start, end in self._holds.unknown:
            first = max(floor(start / self._step) - self._first, 0)
            for index in range(first, min(floor(end / self._step) - self._first, self._width)):
                self._unknown[index] = True

    def _feed(self) -> None:
        """Lay out new holds, or all holds if the duration of a cell has changed."""
        step, total = self._step, self._holds.total
        if step != self._lanes.step:
            self._lanes, self._seen = Lanes(step), 0
        keep = self._first - self._width
        fresh = min(total - self._seen, len(self._holds.finished))
        self._lanes.add(islice(self._holds.finished, len(self._holds.finished) - fresh, None), keep)
        self._lanes.prune(keep)
        self._seen = total

    # -- drawing -----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._measure()
        self._feed()
        held = self._holds.held(self._now)
        rows = {name: self._lanes.row(lane_of(name), self._first, self._width,
                                      [hold for hold in held if hold.worker == lane_of(name)])
                for name in self._names}  # fmt: skip
        lines = [self._axis()]
        room = max(self.size.height - 1, 0)
        below = [] if self._beside else self._below(rows)[: max(room - 1, 0)]
        # Bars that touch vertically look like one bar. Beside the table, each lane must be on the line of its worker.
        self._apart = 1 if self._beside or 2 * len(self._names) + len(below) > room else 2
        fits = max((room - len(below)) // self._apart, 1)
        self._keep_in_sight(fits)
        for number in range(self._top, min(self._top + fits, len(self._names))):
            name = self._names[number]
            again = lane_of(name) in map(lane_of, self._names[:number])  # another process of the same worker
            lines.append([] if again else self._lane(name, rows[name], held))
            lines += [[]] * (self._apart - 1)
        lines += below
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def _keep_in_sight(self, fits: int) -> None:
        if not self._beside:
            self._top = min(self._top, max(len(self._names) - fits, 0))
            if self._cursor is not None and self._cursor[0] in self._names:
                index = self._names.index(self._cursor[0])
                self._top = min(max(self._top, index - fits + 1), index)

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        return self.line(self._lines[y] if y < len(self._lines) else [])

    def _axis(self) -> list[Part]:
        """Return the first line: the time axis, or beside the table, the selected item while the view has the focus."""
        item = self._item() if self._beside and self.has_focus else None
        if item is not None:
            return [(fit(describe_item(item, self._now), self.size.width, plain=self._plain), "strong")]
        title = f"{'#':>{self._label_width - 6}} busy "
        return [(title, "title"), *self._marked(axis_text(self._first, self._width, self._step), "title")]

    def _marked(self, text: str, paint: str) -> list[Part]:
        """Return `text`, one character per cell, with the selected span in another paint."""
        span = self._dragged() or self._selected or self._mark
        if span is None:
            return [(text, paint)]
        start = min(max(floor(span[0] / self._step) - self._first, 0), self._width)
        end = min(max(floor(span[1] / self._step) - self._first + 1, 0), self._width)
        line = ("=" if self._plain else "━") * (end - start)
        return [(text[:start], paint), (line, "warning"), (text[end:], paint)]

    def _lane(self, name: str, row: list[LaneCell | None], held: list[Hold]) -> list[Part]:
        busy = sum(min(cell.held, self._step) for cell in row if cell is not None) / self.span
        chosen = self._item() if self._cursor is not None and self._cursor[0] == lane_of(name) else None
        label = f"{label_of(name):>{self._label_width - 6}} {min(busy, 1):>4.0%} "
        cells = [self._cell(cell, self._first + n) for n, cell in enumerate(row)]
        self._overlay(cells, lane_of(name), chosen)
        parts: list[Part] = [(label, "strong" if chosen else "title")]
        parts += [("".join(text for text, _ in run), paint) for paint, run in groupby(cells, lambda cell: cell[1])]
        now = next((hold for hold in reversed(held) if hold.worker == lane_of(name)), None)
        return [*parts, (fit(f" {now_text(now)}", NOW_WIDTH, plain=self._plain) if now is not None else "", "dim")]

    def _cell(self, cell: LaneCell | None, index: int) -> Part:
        if cell is None:
            unknown = self._unknown[index - self._first]
            return ("?" if self._plain else "·") if unknown else " ", "dim"
        kind = phase(cell.hold, (index + 0.5) * self._step, self._slow)
        paint = "error" if kind == "slow" else self._paint_of(cell.hold.endpoint)
        return glyph(cell, index, self._step, kind, self._plain), paint

    def _overlay(self, cells: list[Part], lane: str, chosen: Item | None) -> None:
        """Draw the marks of a lane over its cells, and highlight the selected item."""
        for mark in self._holds.marks:
            index = floor(mark.when / self._step) - self._first
            if mark.worker == lane and 0 <= index < len(cells):
                shapes = "vx" if self._plain else "▾✖"
                cells[index] = (shapes[mark.trouble], "error" if mark.trouble else "ok")
        if chosen is not None:
            for index in range(*self._cells_of(chosen)):
                cells[index] = (cells[index][0], "cursor" if self.has_focus else "blurred")

    def _cells_of(self, item: Item) -> tuple[int, int]:
        start, end = times_of(item)
        first = min(max(floor(start / self._step) - self._first, 0), self._width - 1)
        return first, min(max(floor(end / self._step) - self._first, first), self._width - 1) + 1

    def _paint_of(self, endpoint: str) -> str:
        if endpoint not in self._colours:
            if len(self._colours) >= COLOURS_REMEMBERED:
                self._colours.clear()
            self._colours[endpoint] = LANES[len(self._colours) % len(LANES)]
        return self._colours[endpoint]

    def _below(self, rows: dict[str, list[LaneCell | None]]) -> list[list[Part]]:
        """Return the lines below the lanes: the colours of the endpoints with most lock time, and the selected item."""
        totals: dict[str, float] = {}
        for row in rows.values():
            for cell in row:
                if cell is not None:
                    totals[cell.hold.endpoint] = totals.get(cell.hold.endpoint, 0.0) + cell.longest
        bar = "#" if self._plain else "█"
        legend: list[Part] = [(" ", "text")]
        for endpoint in sorted(totals, key=lambda name: -totals[name])[: len(LANES)]:
            legend += [(f"{bar} ", self._paint_of(endpoint)), (f"{endpoint}  ", "text")]
        item = self._item()
        return [legend, [(f" {describe_item(item, self._now)}", "strong") if item else self._hint()]]

    def _hint(self) -> Part:
        span = format_span(self.span)
        arrows = "left, right" if self._plain else "← →"
        return f" {span}; [ and ] change it; {arrows} select a request, m marks, drag: only that span", "dim"

    # -- the cursor --------------------------------------------------------------------------------------------

    def _items(self, lane: str) -> list[Item]:
        """Return the items of a lane that can be selected, in the order of their start."""
        begin = self._first * self._step
        holds = [hold for hold in self._holds.since(begin) if hold.worker == lane]
        holds += [hold for hold in self._holds.held(self._now) if hold.worker == lane]
        marks = [mark for mark in self._holds.marks if mark.worker == lane and mark.when >= begin]
        return sorted([*holds, *marks], key=lambda item: times_of(item)[0])

    def _item(self) -> Item | None:
        """Return the selected item; None if nothing is selected, or the item is no longer in the window."""
        if self._cursor is None:
            return None
        lane, when = self._cursor
        items = self._items(lane)
        item = min(items, key=lambda item: abs(times_of(item)[0] - when), default=None)
        return item if item is not None and abs(times_of(item)[0] - when) <= SAME_START else None

    def _choose(self, lane: str, item: Item | None) -> None:
        self._cursor = (lane, times_of(item)[0]) if item is not None else None
        self._draw()

    def action_step(self, by: int) -> None:
        """Choose the previous or the next request of this lane; the newest, if none is chosen."""
        lane = self._cursor[0] if self._cursor else next(iter(map(lane_of, self._names)), "")
        items = self._items(lane)
        if not items:
            return
        item = self._item()
        starts = [times_of(other)[0] for other in items]
        here = starts.index(times_of(item)[0]) + by if item is not None else len(items) - 1
        self._choose(lane, items[min(max(here, 0), len(items) - 1)])

    def action_lane(self, by: int) -> None:
        """Choose what another lane has at the same time; lanes without anything are passed over."""
        lanes = list(dict.fromkeys(map(lane_of, self._names)))
        lane, when = self._cursor or ("", self._now)
        index = lanes.index(lane) if lane in lanes else -1 if by > 0 else len(lanes)
        while 0 <= (index := index + by) < len(lanes):
            items = self._items(lanes[index])
            if items:
                self._choose(lanes[index], min(items, key=lambda item: abs(times_of(item)[0] - when)))
                return

    @property
    def chosen(self) -> RequestRow | WorkerRow | LogRow | None:
        """The selected request, worker or event."""
        item = self._item()
        return item.item if item is not None else None

    def jump(self, matches: Callable[[object], bool], by: int) -> bool:
        """Select the next matching item of any lane, or the previous one if `by` < 0. Return whether there is one."""
        lanes = dict.fromkeys(map(lane_of, self._names))
        found = [item for lane in lanes for item in self._items(lane) if matches(item.item)]
        here = self._cursor[1] if self._cursor is not None else self._now
        found.sort(key=lambda item: by * times_of(item)[0])
        after = next((item for item in found if by * (times_of(item)[0] - here) > SAME_START / 10), None)
        if after is not None:
            self._choose(after.worker, after)
        return after is not None

    def action_now(self) -> None:
        """Choose nothing."""
        self._cursor = None
        self._draw()

    def action_pick(self) -> None:
        """Ask for the details of what is chosen."""
        item = self._item()
        if item is not None:
            self.post_message(self.Picked(item.item))

    def mark(self) -> bool:
        """Begin a span at the selected request, or end it there. Return False if nothing is selected."""
        item = self._item()
        if item is None:
            return False
        start, end = times_of(item)
        if self._mark is None:
            self._mark = (start, end)
            self._draw()
        else:
            self.post_message(self.Spanned(min(start, self._mark[0]), max(end, self._mark[1])))
            self._mark = None
        return True

    # -- the mouse ---------------------------------------------------------------------------------------------

    def _at(self, x: int) -> float:
        """Return the time at which the cell at column `x` begins."""
        return (self._first + min(max(x - self._label_width, 0), self._width - 1)) * self._step

    def _dragged(self) -> tuple[float, float] | None:
        if self._drag is None or self._drag[0] == self._drag[1]:
            return None
        return self._at(min(self._drag)), self._at(max(self._drag)) + self._step * 0.999

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Called by Textual."""
        self._drag = (event.x, event.x)
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Called by Textual."""
        if self._drag is not None:
            self._drag = (self._drag[0], event.x)
            self._draw()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Called by Textual: the end of a drag selects a span."""
        self.release_mouse()
        span, self._drag = self._dragged(), None
        if span is not None:
            self.post_message(self.Spanned(*span))
        self._draw()

    def on_click(self, event: events.Click) -> None:
        """Called by Textual: a click selects an item, a double click shows its details."""
        index = self._top + (event.y - 1) // self._apart
        if event.y < 1 or index >= len(self._names) or event.y >= self.size.height:
            return
        lane, when = lane_of(self._names[index]), self._at(event.x)
        near = [item for item in self._items(lane)
                if times_of(item)[0] < when + self._step and times_of(item)[1] >= when]  # fmt: skip
        longest = max(near, key=lambda item: times_of(item)[1] - times_of(item)[0], default=None)
        self._choose(lane, longest)
        if event.chain == 2:
            self.action_pick()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Called by Textual."""
        self._top = max(self._top - 1, 0)
        self._draw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Called by Textual."""
        self._top += 1
        self._draw()

    def on_focus(self, event: events.Focus) -> None:
        """Called by Textual."""
        self._draw()

    def on_blur(self, event: events.Blur) -> None:
        """Called by Textual."""
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self._draw()


def times_of(item: Item) -> tuple[float, float]:
    """Return when an item begins and ends; a mark has no duration."""
    return (item.when, item.when) if isinstance(item, Mark) else (item.start, item.end)
