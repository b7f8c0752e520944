"""Heat maps of service time and queue time, side by side or stacked, and the figures at the selected time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from faucet.status.format import format_span
from faucet.status.snapshot import HistoryRow
from faucet.tui.heat import HEATS, SPANS, Columns, Heat, columns_of, heat_map, labels
from faucet.tui.heat_text import describe, times_text, title_of
from faucet.tui.paint import Part, fit, strip_of
from faucet.tui.painted import Painted

SIDE_BY_SIDE = 70
"""Terminal width from which the maps are side by side."""

LABEL = 6
"""Width of a label at the left of a map, including the blank after it, in characters."""

ASCII_LEVELS, SHADES = " .:+#", " ░▒▓█"

MAPS: tuple[tuple[str, Heat], ...] = (
    ("service time", lambda row: row.service_heat),
    ("queued", lambda row: row.waited_heat),
)


class HeatView(Painted, can_focus=True):
    """The heat maps."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Earlier", show=False),
        Binding("right", "step(1)", "Later", show=False),
        Binding("end,G", "now", "Now", show=False),
        Binding("enter", "pick", "Show then", key_display="enter"),
    ]

    class Picked(Message):
        """The user wants to go to a time, in seconds since the epoch."""

        def __init__(self, when: float) -> None:
            super().__init__()
            self.when = when

    class Spanned(Message):
        """The user has selected a span of time, in seconds since the epoch."""

        def __init__(self, start: float, end: float) -> None:
            super().__init__()
            self.start = start
            self.end = end

    class AskedWhatIf(Message):
        """The user asks for the effect of other numbers of workers."""

    def __init__(self, id: str, plain: bool) -> None:
        super().__init__(id=id)
        self._plain = plain
        self.span = SPANS[1]
        self._rows: Sequence[HistoryRow] = ()
        self._now = 0.0
        self._forecast = ""
        self._columns = Columns(0, 1.0, [])
        self._width = 1
        self._cursor: float | None = None
        self._mark: float | None = None
        self._drag: tuple[int, int] | None = None
        self._lines: list[list[Part]] = []

    # -- content -----------------------------------------------------------------------------------------------

    def show(self, rows: Sequence[HistoryRow], now: float, forecast: str) -> None:
        """Show the history until `now`, and below it the sentence about other numbers of workers."""
        self._rows, self._now, self._forecast = rows, now, forecast
        if self.size.width:
            self.draw()

    def zoom(self, by: int) -> float:
        """Show a longer span (`by` > 0) or a shorter one. Return the new span in seconds."""
        self.span = SPANS[min(max(SPANS.index(self.span) + by, 0), len(SPANS) - 1)]
        return self.span

    # -- drawing -----------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Lay out and draw everything."""
        beside = self.size.width >= SIDE_BY_SIDE
        share = self.size.width // 2 if beside else self.size.width
        self._width = max(share - LABEL - 1, 1)
        self._columns = columns_of(self._rows, self.span, self._now, self._width)
        room = self.size.height - 3  # the axis, the selected column, the sentence about numbers of workers
        height = max((room if beside else room // 2) - 1, 1)
        maps = [self._map(title, heat, height) for title, heat in MAPS]
        axis = self._axis()
        if beside:
            lines = [[*left, *right] for left, right in zip(*maps, strict=True)]
            lines.append([*axis, *axis])
        else:
            lines = [*maps[0], *maps[1], axis]
        lines += [
            [self._info()],
            [(fit(f" {self._forecast}", self.size.width, plain=self._plain), self.paint("text"))],
        ]
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        return strip_of(self._lines[y] if y < len(self._lines) else [], self.size.width, self.paint("text"))

    def _map(self, title: str, heat: Heat, height: int) -> list[list[Part]]:
        """Return one map as `height` + 1 lines of the same width."""
        per_row = 1 if self._plain or self.app.no_color else 2
        found = heat_map(self._columns.rows, heat, height * per_row)
        names = labels(found.bounds, per_row)
        known = [row for rows in self._columns.rows for row in rows]
        width = LABEL + self._width + 1
        text = title_of(title, known, waiting=title == MAPS[1][0])
        lines = [[(fit(f" {text}", width, plain=self._plain), self.paint("title"))]]
        count = len(self._columns.rows)
        for index in range(height):
            pair = found.lines[index * per_row : (index + 1) * per_row]
            if not pair:
                lines.append([(" " * width, self.paint("text"))])
                continue
            upper, lower = pair[0], pair[-1] if len(pair) == per_row else [0] * count
            cells = [self._cell(high, low) for high, low in zip(upper, lower, strict=True)]
            parts = [("".join(text for text, _ in run), style) for style, run in groupby(cells, lambda cell: cell[1])]
            lines.append([(f"{names[index]:>{LABEL - 1}} ", self.paint("dim")), *parts,
                          (" " * (self._width + 1 - count), self.paint("text"))])  # fmt: skip
        return lines

    def _cell(self, upper: int, lower: int) -> Part:
        if self._plain or self.app.no_color:
            return (ASCII_LEVELS if self._plain else SHADES)[upper], self.paint("spark")
        if not upper and not lower:
            return " ", self.paint("text")
        if not upper:
            return "▄", self._heat(lower)
        if not lower:
            return "▀", self._heat(upper)
        return "▀", Style(color=self._heat(upper).color, bgcolor=self._heat(lower).color)

    def _heat(self, level: int) -> Style:
        return self.painted_as(HEATS[level - 1])

    def _axis(self) -> list[Part]:
        """Return the time axis below a map, with the selected column or span."""
        columns = self._columns
        count = len(columns.rows)
        text = times_text(columns.first, count, columns.seconds)
        parts: list[Part] = [(" " * LABEL, self.paint("text"))]
        chosen = self._chosen_columns()
        if chosen is None:
            parts.append((text, self.paint("title")))
        else:
            start, end = chosen
            line = ("^" if self._plain else "▲") * (end - start)
            parts += [(text[:start], self.paint("title")), (line, self.paint("warning")),
                      (text[end:], self.paint("title"))]  # fmt: skip
        return [*parts, (" " * (self._width + 1 - count), self.paint("text"))]

    def _chosen_columns(self) -> tuple[int, int] | None:
        if self._drag is not None and self._drag[0] != self._drag[1]:
            return min(self._drag), max(self._drag) + 1
        ends = [self._index(when) for when in (self._cursor, self._mark) if when is not None]
        return (min(ends), max(ends) + 1) if ends else None

    def _info(self) -> Part:
        """Return the figures of the selected column, or a hint how to select one."""
        if self._cursor is None:
            arrows = "left, right" if self._plain else "← →"
            text = f"{format_span(self.span)}; [ and ] change it; {arrows} or a click: what was then; enter goes there"
            return fit(f" {text}", self.size.width, plain=self._plain), self.paint("dim")
        index = self._index(self._cursor)
        text = describe(self._columns.start(index), self._columns.seconds, self._columns.rows[index])
        return fit(f" {text}", self.size.width, plain=self._plain), self.paint("strong")

    # -- selection ---------------------------------------------------------------------------------------------

    def _index(self, when: float) -> int:
        index = int(when // self._columns.seconds) - self._columns.first
        return min(max(index, 0), len(self._columns.rows) - 1)

    def _choose(self, index: int) -> None:
        self._cursor = self._columns.start(min(max(index, 0), len(self._columns.rows) - 1))
        self.draw()

    def action_step(self, by: int) -> None:
        """Choose an earlier or a later column; the newest, if none is chosen."""
        last = len(self._columns.rows) - 1
        self._choose(last if self._cursor is None else self._index(self._cursor) + by)

    def action_now(self) -> None:
        """Choose nothing."""
        self._cursor = self._mark = None
        self.draw()

    def action_pick(self) -> None:
        """Go to the chosen time."""
        if self._cursor is not None:
            self.post_message(self.Picked(self._cursor + self._columns.seconds))

    def mark(self) -> bool:
        """Begin a span at the selected column, or end it there. Return False if no column is selected."""
        if self._cursor is None:
            return False
        if self._mark is None:
            self._mark = self._cursor
        else:
            start, end = sorted((self._mark, self._cursor))
            self._mark = None
            self.post_message(self.Spanned(start, end + self._columns.seconds))
        self.draw()
        return True

    # -- the mouse ---------------------------------------------------------------------------------------------

    def _column_at(self, x: int) -> int:
        inner = x % (self.size.width // 2) if self.size.width >= SIDE_BY_SIDE else x
        return min(max(inner - LABEL, 0), len(self._columns.rows) - 1)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Called by Textual."""
        if event.y >= len(self._lines) - 1:
            self.post_message(self.AskedWhatIf())
        elif self._columns.rows:
            self._drag = (self._column_at(event.x), self._column_at(event.x))
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Called by Textual."""
        if self._drag is not None:
            self._drag = (self._drag[0], self._column_at(event.x))
            self.draw()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Called by Textual: a click selects a column, the end of a drag selects a span."""
        self.release_mouse()
        drag, self._drag = self._drag, None
        if drag is None:
            return
        if drag[0] == drag[1]:
            self._choose(drag[0])
        else:
            start, end = self._columns.start(min(drag)), self._columns.start(max(drag) + 1)
            self.post_message(self.Spanned(start, end))
            self.draw()

    def on_click(self, event: events.Click) -> None:
        """Called by Textual: a double click goes to the time of the column."""
        if event.chain == 2:
            self.action_pick()

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        self.draw()
