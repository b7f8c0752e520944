"""Drawing of the queue: a cell for each request, coloured by its age, and a line with the estimates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import inf

from textual import events
from textual.message import Message

from faucet.status.endpoint_columns import bar
from faucet.status.queue import Outlook, Prospect, client_text, refused_text, seconds_text, start_text
from faucet.text import visible
from faucet.tui.lines import Heading, Line
from faucet.tui.paint import ASCII_BARS, BARS
from faucet.tui.top import PaintedLines

LATE = 0.5
"""Share of the queue timeout from which a request is painted as a warning."""

LOW_LINES = 3
"""Most lines of text in a terminal with few lines."""

CELL_LINES = 2
"""Most lines of cells."""

BAR = 8

ROOM_FOR_BARS, ROOM_FOR_CLIENTS = 90, 64
"""Terminal widths from which these columns are shown."""

QueueItem = tuple[int, Prospect] | Heading
"""A position, counted from 1, and the request at it; or the column titles."""

Part = tuple[str, str]


def key_of(item: QueueItem | None) -> object:
    """Return the key that identifies a queued request while its position changes."""
    return item[1].row.number if isinstance(item, tuple) else item


def share_of(row: Prospect) -> float:
    """Return the share of the queue timeout that a request has used, from 0 to 1; 0 without a timeout."""
    return min(row.waited / (row.waited + row.refused), 1.0) if row.waited and row.refused < inf else 0.0


def paint_of(row: Prospect) -> str:
    """Return the paint of a queued request: `error` if it will get 503, `busy` if it is late, otherwise `ready`."""
    if row.start == inf:
        return "error"
    return "busy" if share_of(row) >= LATE else "ready"


def queue_line(item: QueueItem, width: int, plain: bool) -> Line:
    """Return a queued request, or the titles of the columns, as a line."""
    clients, gap = width >= ROOM_FOR_CLIENTS, "  " if width >= ROOM_FOR_CLIENTS else " "
    done = BAR + 1 if width >= ROOM_FOR_BARS else 0
    if isinstance(item, Heading):
        text = f"{'#':>4}{gap}{'WAITED':>7}{gap}{'':{done}}{'503 IN':>7}{gap}{'START':>7}{gap}REQUEST"
        return Line([("", "text"), (text + ("  CLIENT" if clients else ""), "title")], item)
    position, row = item
    paint, start = paint_of(row), start_text(row)
    filled = f"{bar(share_of(row), BAR, plain):<{done}}" if done else ""
    return Line(
        [("", "text"), (f"{position:>4}{gap}", "title"), (f"{seconds_text(row.waited):>7}{gap}{filled}", paint),
         (f"{refused_text(row):>7}{gap}", paint), (f"{start:>7}{gap}", "error" if start == "503" else "strong"),
         (visible(row.row.request), "text"), (_limit(row), "warning"),
         (f"  {client_text(row, plain)}" if clients else "", "dim")], item,
    )  # fmt: skip


def _limit(row: Prospect) -> str:
    """Return the limit that holds a request back; empty if none does."""
    return f"  limit {visible(row.row.limit)}" if row.row.limit else ""


def cell_lines(rows: Sequence[Prospect], waiting: int, width: int, most: int, plain: bool) -> list[list[Part]]:
    """Return a cell for each request, the next one first, on at most `most` lines, and the number of those left out."""
    room = width * most
    beyond = waiting - len(rows)
    if len(rows) > room or beyond:
        rows = rows[: max(room - len(f" +{waiting}"), 0)]
        beyond = waiting - len(rows)
    shapes = ASCII_BARS if plain else BARS
    cells = [(shapes[min(int(share_of(row) * len(shapes)), len(shapes) - 1)], paint_of(row)) for row in rows]
    lines = []
    for start in range(0, len(cells), width):
        runs = groupby(cells[start : start + width], lambda cell: cell[1])
        lines.append([(" ", "text"), *(("".join(shape for shape, _ in run), paint) for paint, run in runs)])
    if beyond and lines:
        lines[-1].append((f" +{beyond}", "dim"))
    return lines


def summary_lines(phrases: Sequence[tuple[str, bool]], width: int) -> list[list[Part]]:
    """Return the phrases about the queue, as many on a line as fit."""
    lines: list[list[Part]] = []
    used = width
    for text, alarming in phrases:
        if used + len(text) + 3 > width:
            lines.append([(" ", "text")])
            used = 0
        lines[-1].append((f"{text}   ", "error" if alarming else "text"))
        used += len(text) + 3
    return lines


class QueueHead(PaintedLines):
    """The estimates for the queue, above its lines. A click on a cell selects the request."""

    class Chosen(Message):
        """The user has selected the request at this position, from 0."""

        def __init__(self, position: int) -> None:
            super().__init__()
            self.position = position

    _cells_from = 0

    def show_outlook(self, outlook: Outlook | None, width: int, low: bool, plain: bool) -> None:
        """Show the estimates for the queue; None: hide the widget. `low`: use as few lines as possible."""
        self.display = outlook is not None and bool(outlook.rows)
        if outlook is None or not self.display:
            return
        lines = summary_lines(outlook.summary(plain), width - 1)
        lines = lines[:LOW_LINES] if low else lines
        self._cells_from = len(lines)
        most = 1 if low else CELL_LINES
        lines += cell_lines(outlook.rows, outlook.waiting, width - 2, most, plain)
        self.styles.height = len(lines)
        self.show([*lines])

    def on_click(self, event: events.Click) -> None:
        """Called by Textual."""
        if event.y >= self._cells_from and event.x >= 1:
            self.post_message(self.Chosen((event.y - self._cells_from) * (self.size.width - 2) + event.x - 1))
