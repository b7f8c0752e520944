"""A view of a growing list of lines (log, requests, queue, events) that can be filtered, followed and wrapped.

The view implements scrolling itself, so that a new line outside the visible part costs nothing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from faucet.tui.paint import over, strip_of
from faucet.tui.painted import Painted

LINES = 5000
"""Lines that are kept. When there are `TRIM` more, the oldest are dropped."""

TRIM = 500

WHEEL = 3
"""Lines to scroll per step of the mouse wheel."""


@dataclass(frozen=True, slots=True)
class Heading:
    """An item for the line with the column titles."""


@dataclass(slots=True)
class Line:
    """One line: its text in parts, each with its paint, and the item of the line."""

    parts: Sequence[tuple[str, str]]
    item: Any = None
    strip: Strip | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(text for text, _ in self.parts)

    @property
    def searched(self) -> str:
        """The text that a filter searches: all parts except the first, the time."""
        return "".join(text for text, _ in self.parts[1:])

    @property
    def is_remark(self) -> bool:
        """Whether the line is about other lines (a mark, titles, skipped lines). Filters do not hide such lines."""
        return self.item is None or isinstance(self.item, Heading) or getattr(self.item, "source", "") == "skipped"


Render = Callable[[Any], Line | None]


class LineView(Painted, can_focus=True):
    """A scrolling view of lines. `render` returns the line for an item, or None to hide the item."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "follow(True)", "Last", show=False),
        Binding("left", "shift(-8)", "Left", show=False),
        Binding("right", "shift(8)", "Right", show=False),
        Binding("enter", "pick", "Details", key_display="enter"),
    ]

    class Picked(Message):
        """The user asks for the details of an item."""

        def __init__(self, item: Any) -> None:
            super().__init__()
            self.item = item

    def __init__(
        self, render: Render, empty: str, id: str, plain: bool, follow: bool = True, key: Callable[[Any], object] = id
    ) -> None:
        """Create a view. `key` identifies an item when its data is replaced, so that the cursor stays on it."""
        super().__init__(id=id)
        self._key = key
        self._bar = "|" if plain else "┃"
        self._render_item = render
        self._empty = empty
        self._ring: Iterable[Any] = ()
        self._seen = 0
        self._lines: list[Line] = []
        self._rows: list[tuple[int, int]] = []  # the line of each row, and the cell at which the row begins
        self._top = 0
        self._left = 0
        self._cursor = -1  # -1: none
        self._pattern: re.Pattern[str] | None = None
        self.following = follow
        self._ranked = not follow
        self.wrapped = False

    # -- filling -----------------------------------------------------------------------------------------------

    def feed(self, ring: deque[Any], total: int) -> None:
        """Show the items added to `ring` since the last call. `total` is the number of items added since the start."""
        if total == self._seen:
            return
        if total < self._seen:
            self._seen = 0
            self.clear()
        count = min(total - self._seen, len(ring))
        self._ring, self._seen = ring, total
        self._add(islice(ring, len(ring) - count, None))

    def begin_anew(self) -> None:
        """Clear the view, so that the next `feed` shows its ring from the beginning."""
        self._ring, self._seen = (), 0
        self._lines, self._rows, self._cursor = [], [], -1
        self.refresh()

    def replace(self, items: list[Any]) -> None:
        """Show these items instead of all earlier ones."""
        self._ring = items
        self.refill()

    def refill(self) -> None:
        """Render all lines again, after a change of the filter or of `render`."""
        cursor_item = self.selected
        self._lines, self._rows, self._cursor = [], [], -1
        self._add(self._ring)
        if cursor_item is not None:
            key = self._key(cursor_item)
            self._cursor = next((n for n, line in enumerate(self._lines) if self._key(line.item) == key), -1)
        self._show_from(self._top)

    def clear(self) -> None:
        """Remove all lines; only new ones are shown."""
        if self._lines:
            self._empty = "cleared: only new lines are shown"
        self._ring = ()
        self._lines, self._rows, self._cursor, self._top = [], [], -1, 0
        self.refresh()

    def say(self, text: str) -> None:
        """Show `text` while there are no lines."""
        if text != self._empty:
            self._empty = text
            self.refresh()

    def mark(self, line: Line) -> None:
        """Add a line without an item after the newest line."""
        self._append(line)
        self._lines_added()

    def _add(self, items: Iterable[Any]) -> None:
        for item in items:
            line = self._render_item(item)
            if line is not None and self._matches(line):
                self._append(line)
        self._lines_added()

    def _matches(self, line: Line) -> bool:
        return self._pattern is None or line.is_remark or bool(self._pattern.search(line.searched))

    def _append(self, line: Line) -> None:
        self._lines.append(line)
        self._rows += self._rows_of(len(self._lines) - 1)

    def _lines_added(self) -> None:
        if len(self._lines) > LINES + TRIM:
            gone = len(self._lines) - LINES
            del self._lines[:gone]
            rows_before = len(self._rows)
            self._lay_out()
            self._cursor = max(self._cursor - gone, -1)
            self._top = max(self._top - (rows_before - len(self._rows)), 0)
        if self.following:
            self._top = self._last_top
        self.refresh()

    def _rows_of(self, number: int) -> list[tuple[int, int]]:
        if not self.wrapped:
            return [(number, 0)]
        width = max(self.size.width - 1, 1)
        return [(number, start) for start in range(0, max(len(self._lines[number].text), 1), width)]

    def _lay_out(self) -> None:
        self._rows = [row for number in range(len(self._lines)) for row in self._rows_of(number)]

    # -- content -----------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """The number of lines that pass the filter."""
        return len(self._lines)

    @property
    def texts(self) -> list[str]:
        """The texts of all lines that pass the filter."""
        return [line.text for line in self._lines]

    @property
    def current(self) -> Line | None:
        """The line under the cursor; without a cursor the last one, None if there are no lines."""
        if 0 <= self._cursor < len(self._lines):
            return self._lines[self._cursor]
        return self._lines[-1] if self._lines else None

    @property
    def selected(self) -> Any:
        """The item of the line under the cursor; None without a cursor."""
        return self._lines[self._cursor].item if 0 <= self._cursor < len(self._lines) else None

    def filter(self, text: str) -> None:
        """Show only lines that match the regular expression `text`, or contain it if the expression is invalid."""
        try:
            self._pattern = re.compile(text, re.IGNORECASE) if text else None
        except re.error:
            self._pattern = re.compile(re.escape(text), re.IGNORECASE)
        self.refill()

    def wrap(self) -> bool:
        """Toggle wrapping of long lines. Return whether they are wrapped now."""
        self.wrapped = not self.wrapped
        self._left = 0
        self._lay_out()
        self._show_from(self._top)
        return self.wrapped

    @property
    def _last_top(self) -> int:
        return max(len(self._rows) - self.size.height, 0)

    def _show_from(self, top: int) -> None:
        self._top = min(max(top, 0), self._last_top)
        if self.following:
            self._top = self._last_top
        self.refresh()

    # -- drawing -----------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        width = self.size.width
        base = self.paint("text")
        index = self._top + y
        if index >= len(self._rows):
            text = self._empty if y == 0 and not self._lines else ""
            return strip_of([(f" {text}", self.paint("dim"))], width, base)
        number, start = self._rows[index]
        left = start + self._left
        strip = self._strip(self._lines[number]).crop(left, left + width - 1).adjust_cell_length(width - 1, base)
        if number == self._cursor and self.has_focus:
            strip = over(strip, self.paint("cursor"))
        return Strip.join([strip, strip_of([self._scrollbar(y)], 1, base)])

    def _strip(self, line: Line) -> Strip:
        if line.strip is None:
            text = Text.assemble(*((part, self.paint(paint)) for part, paint in line.parts))
            if self._pattern is not None:
                text.highlight_regex(self._pattern, self.paint("match"))
            line.strip = Strip(text.render(self.app.console))
        return line.strip

    def _scrollbar(self, y: int) -> tuple[str, Style]:
        rows, height = len(self._rows), self.size.height
        style = self.paint("dim")
        if rows <= height:
            return " ", style
        size = max(height * height // rows, 1)
        start = round(self._top / self._last_top * (height - size))
        return (self._bar if start <= y < start + size else " "), style

    def notify_style_update(self) -> None:
        """Called by Textual when the theme has changed."""
        super().notify_style_update()
        for line in self._lines:
            line.strip = None

    # -- keys and mouse ----------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Called by Textual."""
        if self.wrapped:
            self._lay_out()
        self._show_from(self._top)

    def action_move(self, by: int) -> None:
        """Move the cursor by `by` lines."""
        if not self._lines:
            return
        here = self._cursor if self._cursor >= 0 else self._from(by)
        self._cursor = min(max(here + by, 0), len(self._lines) - 1)
        self.following = False
        self._show_cursor()

    def _from(self, by: int) -> int:
        """Return where the cursor starts: below the last visible line; in a ranking, if moved down, above the first."""
        if by > 0 and self._ranked:
            return next((n for n, line in enumerate(self._lines) if not isinstance(line.item, Heading)), 0) - 1
        return self._rows[min(self._top + self.size.height, len(self._rows)) - 1][0] + 1

    def select(self, matches: Callable[[Any], bool]) -> None:
        """Move the cursor to the first line whose item matches, if there is one."""
        found = next((n for n, line in enumerate(self._lines) if matches(line.item)), -1)
        if found >= 0:
            self._cursor = found
            self.following = False
            self._show_cursor()

    def jump(self, matches: Callable[[Any], bool], by: int) -> bool:
        """Move the cursor to the next matching line, or the previous one if `by` < 0. Return whether there is one."""
        here = self._cursor if self._cursor >= 0 else len(self._lines)
        ahead = range(here + 1, len(self._lines)) if by > 0 else range(here - 1, -1, -1)
        found = next((number for number in ahead if matches(self._lines[number].item)), None)
        if found is None:
            return False
        self._cursor = found
        self.following = False
        self._show_cursor()
        return True

    def _show_cursor(self) -> None:
        first = next(index for index, row in enumerate(self._rows) if row[0] == self._cursor)
        if first < self._top:
            self._top = first
        elif first >= self._top + self.size.height:
            self._top = first - self.size.height + 1
        self._show_from(self._top)

    def action_page(self, pages: int) -> None:
        """Scroll by `pages` pages."""
        self._scroll_by(pages * max(self.size.height - 1, 1))

    def action_shift(self, by: int) -> None:
        """Scroll sideways by `by` characters."""
        self._left = max(self._left + by, 0)
        self.refresh()

    def action_follow(self, follow: bool) -> None:
        """Follow the newest line, or stay at the current one."""
        self.following = follow
        self._cursor = -1
        self._show_from(self._top)

    def action_pick(self) -> None:
        """Ask for the details of the line under the cursor."""
        if self.current is not None and self.current.item is not None:
            self.post_message(self.Picked(self.current.item))

    def _scroll_by(self, rows: int) -> None:
        self.following = False
        self._show_from(self._top + rows)
        self.following = rows > 0 and self._top == self._last_top

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Called by Textual."""
        self._scroll_by(-WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Called by Textual."""
        self._scroll_by(WHEEL)

    def on_click(self, event: events.Click) -> None:
        """Called by Textual: a click moves the cursor to a line, a double click shows its details."""
        index = self._top + event.y
        if index < len(self._rows):
            self._cursor = self._rows[index][0]
            self.following = False
            self.refresh()
            if event.chain == 2:
                self.action_pick()
