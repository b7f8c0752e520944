"""The part of the monitor about time: the window of the lock lanes, and the span that limits the lines."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.binding import Binding, BindingType

from faucet.status.endpoint import endpoint_of
from faucet.status.format import clock, format_span
from faucet.status.snapshot import LogRow, RequestRow, WorkerRow
from faucet.text import visible
from faucet.tui.actions import Acting
from faucet.tui.lane_view import LaneView
from faucet.tui.lanes import SPANS
from faucet.tui.lines import Line, LineView
from faucet.tui.model import LogItem
from faucet.tui.request_screen import RequestScreen
from faucet.tui.request_text import curl, is_r_error
from faucet.tui.screens import TextScreen

Span = tuple[float, float]
"""Start and end, in seconds since the epoch."""

LIMITED = ("log", "requests", "events")
"""Views that show only the selected span."""


def overlaps(item: LogItem, span: Span | None) -> bool:
    """Return whether a line, or any part of a request from its arrival to its end, lies in `span`; None: always."""
    if span is None:
        return True
    if isinstance(item, LogRow):
        return span[0] <= item.when <= span[1]
    return item.ended - item.service - item.waited <= span[1] and item.ended >= span[0]


def is_of(item: LogItem, endpoint: str | None) -> bool:
    """Return whether a line is a request of `endpoint`; None: always."""
    if endpoint is None:
        return True
    return isinstance(item, RequestRow) and endpoint_of(item.method, item.target) == endpoint


def is_error(item: object) -> bool:
    """Return whether an item of the log, the requests, the events or the lanes is an error."""
    if isinstance(item, RequestRow):
        return item.status >= 500
    return isinstance(item, LogRow) and (item.source == "error" or is_r_error(item))


class Spanning(Acting):
    """Lock lanes, and the span that is selected on them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "zoom(1)", "Longer span", id="longer", key_display="[", show=False),
        Binding("right_square_bracket", "zoom(-1)", "Shorter span", id="shorter", key_display="]", show=False),
        Binding("n", "error(1)", "Next error", id="next-error", show=False),
        Binding("p", "error(-1)", "Previous error", id="previous-error", show=False),
        Binding("C", "curl", "Copy as curl", id="curl", show=False),
    ]

    plain: bool
    span: Span | None = None
    endpoint: str | None = None

    def limited(self, item: LogItem, line: Line | None) -> Line | None:
        """Return `line` if its item matches the selected span and endpoint (if selected), otherwise None."""
        return line if line is not None and overlaps(item, self.span) and is_of(item, self.endpoint) else None

    def action_zoom(self, by: int) -> None:
        """Show a longer or a shorter time: on the lock lanes, and of all figures."""
        index = min(max(SPANS.index(self.feed.window) + by, 0), len(SPANS) - 1)
        self.show_last(SPANS[index])
        self.notify(f"lanes and figures of the last {format_span(SPANS[index])}", timeout=2)

    def show_last(self, seconds: float) -> None:
        """Show the last `seconds`, one of SPANS, on the lock lanes and in all figures."""
        self.feed.window = seconds
        for lanes in self.behind.query(LaneView):
            lanes.zoom(seconds)
        self.run_worker(self.feed.watch(), group="window", exclusive=True, exit_on_error=False)

    @property
    def span_hint(self) -> str:
        """The selected endpoint and span as text; empty if lines are not limited."""
        times = f"{clock(self.span[0])} to {clock(self.span[1])}" if self.span is not None else ""
        limits = ", ".join(text for text in (self.endpoint, times) if text)
        return f"{limits} only (esc)" if limits else ""

    @on(LaneView.Spanned)
    def _spanned(self, event: LaneView.Spanned) -> None:
        self.limit((event.start, event.end), self.endpoint)

    def limit(self, span: Span | None, endpoint: str | None) -> None:
        """Limit log, requests and events to `span` and `endpoint`; None: no limit."""
        self.span, self.endpoint = span, endpoint
        for lanes in self.behind.query(LaneView):
            lanes.select(span)
        for name in LIMITED:
            self.behind.query_one(f"#{name}", LineView).refill()
        if self.span_hint:
            self.notify(f"log, requests and events: {self.span_hint}", timeout=4, markup=False)

    @on(LaneView.Picked)
    def _picked_on_a_lane(self, event: LaneView.Picked) -> None:
        self.show_item(event.item)

    @on(LineView.Picked)
    def _picked_line(self, event: LineView.Picked) -> None:
        self.show_item(event.item)

    def show_item(self, item: object) -> None:
        """Show the details of a request, a line or an event."""
        if isinstance(item, RequestRow):
            self.push_screen(RequestScreen(item, self.model, self.ask, self.plain))
        elif isinstance(item, LogRow):
            self.push_screen(TextScreen(clock(item.when), visible(item.text)))
        elif isinstance(item, WorkerRow):
            self.show_worker(item.name)

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Send a command to the service, and return its answer. Raises Refusal, NoRuntime."""
        return await self.feed.ask(do, **arguments)

    @property
    def chosen(self) -> object:
        """The item under the cursor."""
        if isinstance(self.focused, LaneView):
            return self.focused.chosen
        return self.view.current.item if self.view.current is not None else None

    def action_error(self, by: int) -> None:
        """Go to the next error, or to the previous one: a failed request, or an error that R wrote."""
        if isinstance(self.screen, RequestScreen):
            self.screen.action_error(by)
            return
        shown = self.focused if isinstance(self.focused, LaneView) else self.view
        if not shown.jump(is_error, by):
            self.notify("no later error" if by > 0 else "no earlier error", timeout=2)
        elif isinstance(shown, LineView):
            shown.screen.set_focus(shown)

    def action_curl(self) -> None:
        """Copy the command that sends the chosen request again."""
        if isinstance(self.screen, RequestScreen):
            self.screen.action_curl()
        elif isinstance(request := self.chosen, RequestRow):
            self.copy_to_clipboard(curl(request, self.model.url))
            self.notify("copied, without fields and body", timeout=2)
        else:
            self.notify("select a request first", severity="warning", timeout=3)

    @property
    def view(self) -> LineView:
        """The lines of the active tab."""
        raise NotImplementedError

    def show_worker(self, name: str) -> None:
        """Show the details of a worker."""
        self.open_worker(name)

    def open_worker(self, name: str) -> object:
        """Show the details of a worker, until the screen is closed."""
        raise NotImplementedError
