"""The part of the monitor about endpoints and their share of the workers' time. Fetched only while they are shown."""

from __future__ import annotations

from collections.abc import Sequence

from faucet.control.client import NoRuntime, Refusal
from faucet.status.endpoint import LENGTH
from faucet.status.endpoint_columns import BAR, LEAST_ENDPOINT, EndpointColumn, bar, counted_in, endpoint_columns
from faucet.status.endpoints import OTHER
from faucet.status.snapshot import EndpointRow
from faucet.tui.lines import Heading, Line, LineView
from faucet.tui.paint import fit
from faucet.tui.spans import Spanning
from faucet.tui.table_columns import Order

ENDPOINTS_SECONDS = 2.0
"""Seconds between two requests for the endpoints, while they are shown."""

EndpointItem = EndpointRow | Heading


def key_of(item: EndpointItem | None) -> object:
    """Return the key that identifies an endpoint while its figures change."""
    return item.endpoint if isinstance(item, EndpointRow) else item


def endpoint_line(item: EndpointItem, columns: Sequence[EndpointColumn], order: Order, width: int, plain: bool) -> Line:
    """Return an endpoint, or the titles of the columns, as a line of `width` characters."""
    room = max(width - sum(column.width + 1 for column in columns) - 1, LEAST_ENDPOINT - 1)
    widths = {"endpoint": min(room, LENGTH), "bar": BAR + max(room - LENGTH, 0)}
    parts = [("", "text"), (" ", "text")]
    for column in columns:
        space = widths.get(column.id, column.width)
        text = column.title + order.arrow(column.id, plain) if isinstance(item, Heading) else column.text(item)
        if column.id == "bar" and isinstance(item, EndpointRow):
            text = bar(item.share, space, plain)
        parts += [(fit(text, space, column.right, plain), _paint(item, column, order)), (" ", "text")]
    return Line(parts, item)


def _paint(item: EndpointItem, column: EndpointColumn, order: Order) -> str:
    if isinstance(item, Heading):
        return "strong" if column.id == order.column else "title"
    if column.id == "errors" and item.errors:
        return "error"
    return {"endpoint": "strong", "bar": "spark"}.get(column.id, "text")


class Ranking(Spanning):
    """The part of the monitor with the endpoints, sorted."""

    tab: str
    paused: bool
    endpoint_rows: list[EndpointRow]
    endpoint_order = Order("share")
    _drawn_for = 0
    counted = ""
    """The period that the figures cover, as text."""

    def endpoint_item(self, item: EndpointItem) -> Line:
        """Return an endpoint, or the titles, as a line."""
        columns = endpoint_columns(self.size.width - 2, self.plain)
        return endpoint_line(item, columns, self.endpoint_order, self.size.width - 2, self.plain)

    def fetch_endpoints(self) -> None:
        """Request the endpoints if they are shown."""
        if self.tab == "endpoints" and not self.paused:
            self.run_worker(self._fetch_endpoints(), group="endpoints", exclusive=True, exit_on_error=False)

    async def _fetch_endpoints(self) -> None:
        try:
            data = await self.feed.ask("endpoints", window=self.feed.window)
        except (Refusal, NoRuntime):
            return  # the header shows the problem, and the earlier rows stay
        self.endpoint_rows = [EndpointRow(**row) for row in data["endpoints"]]
        self.counted = counted_in(data["seconds"], data["uncounted"])
        self.draw_endpoints()

    def fit_endpoints(self) -> None:
        """Draw the endpoints again if the width of the terminal has changed."""
        if self.tab == "endpoints" and self.size.width != self._drawn_for:
            self.draw_endpoints()

    def draw_endpoints(self) -> None:
        """Draw the endpoints in their order."""
        self._drawn_for = self.size.width
        columns = {column.id: column for column in endpoint_columns()}
        order = self.endpoint_order
        by_share = sorted(self.endpoint_rows, key=columns["share"].order)
        rows = sorted(by_share, key=columns[order.column].order, reverse=order.inverted)
        view = self.behind.query_one("#endpoints", LineView)
        view.replace([Heading(), *rows] if rows else [])
        self.draw_hints()

    def sort_endpoints(self) -> str:
        """Sort by the next visible column. Return its title."""
        shown = [column for column in endpoint_columns(self.size.width - 2) if column.id != "bar"]
        names = [column.id for column in shown]
        index = names.index(self.endpoint_order.column) + 1 if self.endpoint_order.column in names else 0
        self.endpoint_order = Order(names[index % len(names)])
        self.draw_endpoints()
        return shown[index % len(names)].title

    @property
    def endpoints_hint(self) -> str:
        """The period of the figures, and the sort order, as text."""
        titles = {column.id: column.title for column in endpoint_columns()}
        return f"{self.counted}, by {titles[self.endpoint_order.column]} (s)" if self.counted else ""

    def show_item(self, item: object) -> None:
        """Show the details of an item: for an endpoint, its requests. The titles change the sort order."""
        if isinstance(item, Heading):
            self.sort_endpoints()
        elif isinstance(item, EndpointRow) and item.endpoint == OTHER:
            self.notify(
                "all further endpoints, and those that no worker has answered yet",
                timeout=4,
            )
        elif isinstance(item, EndpointRow):
            self.limit(self.span, item.endpoint)
            self.action_tab("requests")
        else:
            super().show_item(item)

    def action_tab(self, name: str) -> None:
        """Show another view."""
        raise NotImplementedError

    def draw_hints(self) -> None:
        """Draw the line of the views, with its hints."""
        raise NotImplementedError
