"""The banner: current problems (notices) in one or two lines, and a screen with all details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from faucet.status.columns import format_age
from faucet.status.format import clock
from faucet.status.snapshot import Notice
from faucet.text import visible
from faucet.tui.paint import fit
from faucet.tui.top import ROOMY, PaintedLines, Parts

TALL, LOWEST = 30, 8
"""Terminal heights from which two notices are shown, and from which one is."""

WIDE = 100
"""Terminal width from which the age of a notice is shown."""

SIGNS = {"error": "✖", "warning": "▲"}
ASCII_SIGNS = {"error": "x", "warning": "!"}


def sign_of(notice: Notice, plain: bool) -> str:
    """Return the symbol for the level of a notice."""
    return (ASCII_SIGNS if plain else SIGNS)[notice.level]


def repairing(notices: Sequence[Notice]) -> str:
    """Return the first command that repairs a problem; empty if there is none."""
    return next((notice.command for notice in notices if notice.command), "")


class Banner(PaintedLines):
    """The worst notices. A click shows all notices with their details."""

    class Chosen(Message):
        """The user has clicked on the banner."""

    def show_notices(self, notices: Sequence[Notice], now: float, width: int, height: int, plain: bool) -> None:
        """Show as many notices as fit, or hide the banner if there are none.

        `width` and `height` are those of the terminal, since the size of a hidden widget is 0.
        """
        shown = notices[: 2 if height >= TALL else int(height >= LOWEST)]
        self.display = bool(shown)
        self.styles.height = max(len(shown), 1)
        lines: list[Parts] = []
        for number, notice in enumerate(shown, 1):
            hint = _hint(notice, len(notices) if number == len(shown) else 0, len(shown), now, width)
            text = f" {sign_of(notice, plain)} {visible(notice.text)}"
            lines.append([(fit(text, max(width - len(hint), 0), plain=plain), notice.level), (hint, "dim")])
        self.show(lines)

    def on_click(self, event: events.Click) -> None:
        """Called by Textual."""
        self.post_message(self.Chosen())


def _hint(notice: Notice, count: int, shown: int, now: float, width: int) -> str:
    """Return the text after a notice: its age, and the keys; in a narrow terminal only the number of further notices.
    `count` is the number of all notices for the last notice shown, and 0 for the others."""
    if width < ROOMY:
        return f"  +{count - shown}" if count > shown else ""
    age = [format_age(now - notice.since)] if width >= WIDE else []
    copy = ["y copies the command" if width >= WIDE else "y copies it"] if notice.command else []
    more = [f"N all {count}" if count > shown else "N more"] if count else []
    return "  ".join(["", *age, *copy, *more, ""])


def notices_text(notices: Sequence[Notice], now: float, plain: bool) -> str:
    """Return the notices with all their details, the worst first."""
    if not notices:
        return "Nothing is wrong."
    return "\n\n".join(_all_of(notice, now, plain) for notice in notices)


def _all_of(notice: Notice, now: float, plain: bool) -> str:
    lines = [
        f"{sign_of(notice, plain)} {visible(notice.text)}",
        f"  since {clock(notice.since)}, for {format_age(now - notice.since)}",
        *(f"  {visible(line)}" for line in notice.detail.splitlines()),
    ]
    if notice.command:
        lines += ["  To repair it:", f"    {visible(notice.command)}"]
    return "\n".join(lines)


class NoticesScreen(ModalScreen[None]):
    """All notices, updated every second."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,N", "close", "Close"),
        Binding("y", "copy", "Copy the command"),
        Binding("ctrl+c", "app.leave", "Quit", show=False),
    ]

    def __init__(self, notices: Callable[[], Sequence[Notice]], now: Callable[[], float], plain: bool) -> None:
        super().__init__()
        self._notices = notices
        self._now = now
        self._plain = plain

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="wide") as box:
            box.border_title = "What is wrong"
            with VerticalScroll():
                yield Static("", id="text", markup=False)
            with Horizontal():
                yield Button("Copy the command", id="copy", compact=True)
                yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one("#close", Button).focus()
        self.set_interval(1.0, self._update)
        self._update()

    def _update(self) -> None:
        notices = self._notices()
        self.query_one("#text", Static).update(notices_text(notices, self._now(), self._plain))
        self.query_one("#copy", Button).display = bool(repairing(notices))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Called by Textual."""
        if event.button.id == "copy":
            self.action_copy()
        else:
            self.action_close()

    def action_close(self) -> None:
        """Go back to the main screen."""
        self.dismiss()

    def action_copy(self) -> None:
        """Copy the command that repairs what is wrong."""
        command = repairing(self._notices())
        if command:
            self.app.copy_to_clipboard(command)
            self.notify("the command is copied", timeout=2)
