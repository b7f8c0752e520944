"""Questions before an action that cannot be undone: the consequences, and an answer for each letter."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

FRAME = 10
"""Width of the frame around the label of an answer, in columns."""


class Answer(NamedTuple):
    """One answer to a question."""

    name: str
    key: str
    """The letter that selects the answer."""
    label: str
    result: str = ""
    """The consequence of the answer, shown if it fits."""

    def text(self, room: int) -> str:
        """Return the label with its letter, in `room` columns."""
        whole = f"{self.key}   {self.label}{f': {self.result}' if self.result else ''}"
        return whole if len(whole) <= room else f"{self.key}   {self.label}"


class Question(ModalScreen[str]):
    """A question with a few answers. The first is the safe one. Ctrl-C moves to the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer('cancel')", "Cancel"),
        Binding("ctrl+c,right,down", "app.focus_next", "Next", show=False, priority=True),
        Binding("left,up", "app.focus_previous", "Previous", show=False),
    ]

    def __init__(self, title: str, text: str, answers: Sequence[Answer]) -> None:
        """Create a question. Its result is the name of the selected answer, or `cancel` after Escape."""
        super().__init__()
        self._title = title
        self._text = text
        self._answers = answers
        self._mounted_at = inf
        self._typing = False

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        room = self.app.size.width - FRAME
        texts = [answer.text(room) for answer in self._answers]
        with VerticalScroll(classes="dialog", can_focus=False) as box:
            box.border_title = self._title
            box.styles.width = min(max(map(len, [*texts, self._title, self._text[:62]])) + FRAME, self.app.size.width)
            if self._text:
                yield Static(self._text, classes="question", markup=False)
            for answer, text in zip(self._answers, texts, strict=True):
                yield Button(text, id=answer.name, compact=True)

    def on_mount(self) -> None:
        """Called by Textual, before the question is drawn for the first time."""
        self._mounted_at = monotonic()

    def on_key(self, event: events.Key) -> None:
        """Called by Textual: a letter is an answer, if it was typed as one.

        A letter that was typed before the question was there is none: it was pasted, or typed somewhere else by
        mistake. After a letter that is no answer, letters do not count any more: `retry` must not say yes.
        """
        if not event.is_printable:
            return
        event.stop()
        chosen = next((answer.name for answer in self._answers if answer.key == event.key), None)
        if chosen is not None and not self._typing and event.time >= self._mounted_at:
            self.dismiss(chosen)
        elif not self._typing:
            self._typing = True
            self.query_one(".dialog").border_subtitle = "answer with the arrows and enter"

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Called by Textual."""
        self.dismiss(event.button.id or "cancel")

    def action_answer(self, name: str) -> None:
        """Answer with the answer `name`."""
        self.dismiss(name)
