"""The part of the monitor about the queue: how long each request will wait, and how to cancel a request."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from faucet.status.columns import format_age
from faucet.status.queue import Outlook, Prospect, client_text, outlook, refused_text, start_text, took_by_endpoint
from faucet.text import visible
from faucet.tui.leaving import Leaving
from faucet.tui.lines import Heading, Line, LineView
from faucet.tui.questions import cancel_question
from faucet.tui.queue_view import QueueHead, QueueItem, queue_line
from faucet.tui.screens import TextScreen


class Queueing(Leaving):
    """The part of the monitor with the queue."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("x", "cancel", "End", id="cancel")]

    def queue_item(self, item: QueueItem) -> Line:
        """Return a queued request, or the titles, as a line."""
        return queue_line(item, self.size.width, self.plain)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Called by Textual: whether an action is available."""
        if action == "cancel":
            return self.tab == "queue" and not self.read_only and self.player is None
        return super().check_action(action, parameters)

    def _outlook(self) -> Outlook | None:
        model = self.model
        if model.totals is None:
            return None
        return outlook(
            model.queue, model.rows, model.limits, model.totals.waiting, took_by_endpoint(model.requests), model.now()
        )

    def draw_queue(self) -> None:
        """Draw the queue, if it is shown."""
        head = self.behind.query_one(QueueHead)
        expected = self._outlook() if self.tab == "queue" else None
        head.show_outlook(expected, self.size.width, self.size.height < 24, self.plain)
        if expected is not None:
            rows: list[QueueItem] = list(enumerate(expected.rows, 1))
            self.behind.query_one("#queue", LineView).replace([Heading(), *rows] if rows else [])

    @on(QueueHead.Chosen)
    def _cell_chosen(self, event: QueueHead.Chosen) -> None:
        view = self.behind.query_one("#queue", LineView)
        view.select(lambda item: isinstance(item, tuple) and item[0] == event.position + 1)
        view.screen.set_focus(view)

    def show_item(self, item: object) -> None:
        """Show the details of an item; for a queued request, its estimates."""
        if isinstance(item, tuple) and isinstance(item[1], Prospect):
            self.push_screen(TextScreen("Queued request", queued_details(item[0], item[1], self.plain)))
        else:
            super().show_item(item)

    def action_cancel(self) -> None:
        """End the waiting of the selected request: its client gets 503."""
        item = self.view.selected
        if isinstance(item, tuple):
            self._begin(self._act_if(cancel_question(item[1]), "cancel", request=item[1].row.number))
        else:
            self.notify("select a request first, with the arrow keys", severity="warning", timeout=3)


def queued_details(position: int, row: Prospect, plain: bool) -> str:
    """Return the details of a queued request as text."""
    expected = {"?": "not known: no request has finished yet, or no worker is in service",
                "503": "it will get 503 before a worker is free"}  # fmt: skip
    start = start_text(row)
    return "\n".join([
        visible(row.row.request),
        "",
        f"client         {client_text(row, plain)}",
        f"position       {position}",
        f"has waited     {format_age(row.waited)}",
        f"gets 503 in    {refused_text(row)}",
        f"starts in      {expected.get(start, f'about {start}')}",
        f"number         {row.row.number}  (faucet ctl cancel {row.row.number})",
    ])  # fmt: skip
