"""The part of the monitor that saves and restores the layout."""

from __future__ import annotations

from typing import Any

from textual.widgets import ContentSwitcher

from faucet.status.columns import ALL_COLUMNS
from faucet.status.endpoint_columns import endpoint_columns
from faucet.tui.lanes import SPANS
from faucet.tui.lines import LineView
from faucet.tui.memory import Layout
from faucet.tui.queueing import Queueing
from faucet.tui.table import WorkerTable
from faucet.tui.table_columns import Order


class Remembering(Queueing):
    """The part of the monitor with the theme and the layout."""

    left_with: Layout | None = None
    """The layout when the monitor ended; None while it runs."""

    @property
    def layout(self) -> Layout:
        """The current theme and layout."""
        table = self.behind.query_one(WorkerTable)
        return Layout(
            theme=self.theme,
            tab=self.tab,
            sorted_by=table.order.column,
            inverted=table.order.inverted,
            endpoints_by=self.endpoint_order.column,
            endpoints_inverted=self.endpoint_order.inverted,
            span=self.feed.window,
            wrapped=self.behind.query_one("#log", LineView).wrapped,
        )

    def restore(self, layout: Layout) -> None:
        """Apply a layout. Unknown values, e.g. of another version, are ignored."""
        if layout.theme in self.available_themes:
            self.theme = layout.theme
        columns = {column.id for column in ALL_COLUMNS}
        if layout.sorted_by in columns:
            self.behind.query_one(WorkerTable).sort_by(Order(layout.sorted_by, layout.inverted))
        if layout.endpoints_by in {column.id for column in endpoint_columns()}:
            self.endpoint_order = Order(layout.endpoints_by, layout.endpoints_inverted)
        if layout.span in SPANS:
            self.show_last(layout.span)
        if layout.wrapped:
            self.behind.query_one("#log", LineView).wrap()
        if layout.tab in {view.id for view in self.behind.query_one(ContentSwitcher).children}:
            self.action_tab(layout.tab)

    def exit(self, *arguments: Any, **more: Any) -> None:
        """End the monitor, and keep its layout in `left_with`."""
        if self.screen_stack and self.behind.query(WorkerTable):
            self.left_with = self.layout
        super().exit(*arguments, **more)
