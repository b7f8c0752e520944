"""The screen with the details of one request, and with keys for the next and the previous error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from faucet.control.client import NoRuntime, Refusal
from faucet.status.snapshot import LogRow, RequestRow
from faucet.tui.model import Model
from faucet.tui.request_text import curl, request_details, span_of

Ask = Callable[..., Awaitable[Any]]

MOST_LINES = 200
"""Most lines of output that are shown."""


def next_error(requests: Sequence[RequestRow], shown: RequestRow, by: int) -> RequestRow | None:
    """Return the failed request after `shown` (`by` > 0) or before it; None if there is none."""
    errors = [row for row in requests if row.status >= 500 and row is not shown]
    if by > 0:
        return next((row for row in errors if row.ended >= shown.ended), None)
    return next((row for row in reversed(errors) if row.ended <= shown.ended), None)


class RequestScreen(ModalScreen[str]):
    """The details of one request."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Close"),
        Binding("n", "error(1)", "Next error"),
        Binding("p", "error(-1)", "Previous error"),
        Binding("C", "curl", "Copy as curl"),
        Binding("ctrl+c", "app.leave", "Quit", show=False),
    ]

    def __init__(self, request: RequestRow, model: Model, ask: Ask, plain: bool) -> None:
        """Create the screen. `ask` sends a command to the service."""
        super().__init__()
        self.request = request
        self._model = model
        self._ask = ask
        self._plain = plain
        self._written: list[LogRow] | None = None

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="wide request") as box:
            box.border_title = "Request"
            with VerticalScroll():
                yield Static("", id="text", markup=False)
            with Horizontal():
                yield Button("Next error", id="next", compact=True)
                yield Button("Previous", id="previous", compact=True)
                yield Button("As curl", id="curl", compact=True)
                yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one("#close", Button).focus()
        self._show(self.request)

    def on_resize(self) -> None:
        """Called by Textual."""
        self._draw()

    def _show(self, request: RequestRow) -> None:
        self.request, self._written = request, None
        self._draw()
        if request.worker:
            self.run_worker(self._fetch(request), group="written", exclusive=True)

    async def _fetch(self, request: RequestRow) -> None:
        since, until = span_of(request, self._model.holds.following(request))
        try:
            rows = await self._ask("logs", worker=request.worker, since=since, until=until, last=MOST_LINES)
        except (Refusal, NoRuntime):
            rows = []
        self._written = [LogRow(**row) for row in rows if row["source"] in ("out", "err")]
        self._draw()

    def _draw(self) -> None:
        text = request_details(self.request, self._written, max(self.size.width * 96 // 100 - 6, 20), self._plain)
        self.query_one("#text", Static).update(text)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Called by Textual."""
        actions = {"next": lambda: self.action_error(1), "previous": lambda: self.action_error(-1),
                   "curl": self.action_curl}  # fmt: skip
        actions.get(event.button.id or "", self.action_close)()

    def action_close(self) -> None:
        """Go back to the main screen."""
        self.dismiss("close")

    def action_error(self, by: int) -> None:
        """Show the next failed request, or the previous one."""
        found = next_error(list(self._model.requests), self.request, by)
        if found is None:
            self.notify("no later error" if by > 0 else "no earlier error", timeout=2)
        else:
            self._show(found)

    def action_curl(self) -> None:
        """Copy the command that sends this request again."""
        self.app.copy_to_clipboard(curl(self.request, self._model.url))
        self.notify("copied, without fields and body", timeout=2)
