"""The line that shows which moment of the past is on the screen. A click goes to another moment."""

from __future__ import annotations

from datetime import datetime

from textual import events
from textual.message import Message

from faucet.status.columns import format_age
from faucet.tui.top import ROOMY, PaintedLines

ENDS = 9
"""Width of a time at an end of the line, including a blank, in characters."""


def at(when: float) -> str:
    """Return the local time of day of `when` (seconds since the epoch): `12:04:01`."""
    return datetime.fromtimestamp(when).strftime("%H:%M:%S")


class TimeLine(PaintedLines):
    """The shown moment, between the first and the last moment of the recording."""

    class Chosen(Message):
        """The user goes to a moment, in seconds since the epoch."""

        def __init__(self, when: float) -> None:
            super().__init__()
            self.when = when

    _start = _end = 0.0

    def show_moment(self, when: float, start: float, end: float, hint: str, plain: bool) -> None:
        """Show that `when` is on the screen, of a recording from `start` to `end`."""
        self._start, self._end = start, end
        width = self.app.size.width  # the widget's own width is 0 until it is displayed
        ago = f", {format_age(end - when)} before {at(end)}" if end - when >= 1 and width >= ROOMY else ""
        moment = f" {at(when)}{ago} "
        room = width - len(moment) - 2 * ENDS
        text = hint if room - len(hint) >= 10 else ""
        cells = max(room - len(text) - 2, 1)
        place = round((cells - 1) * (when - start) / max(end - start, 1e-9))
        line, dot = ("-", "O") if plain else ("─", "●")
        self._first, self._cells = len(moment) + ENDS, cells
        self.show([[(moment, "warning"), (f"{at(start)} ", "dim"), (line * place, "title"), (dot, "strong"),
                    (line * (cells - 1 - place), "title"), (f" {at(end)}", "dim"), (f"  {text}", "dim")]])  # fmt: skip

    _first, _cells = 0, 1

    def on_click(self, event: events.Click) -> None:
        """Called by Textual."""
        share = min(max((event.x - self._first) / max(self._cells - 1, 1), 0.0), 1.0)
        self.post_message(self.Chosen(self._start + share * (self._end - self._start)))
