"""The part of the monitor with the heat maps of the history. The history is requested only while they are shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from textual import on

from faucet.control.client import NoRuntime, Refusal
from faucet.status.format import format_span
from faucet.status.snapshot import HistoryRow
from faucet.tui.heat import SPANS, step_of
from faucet.tui.heat_view import HeatView
from faucet.tui.ranking import Ranking
from faucet.tui.replay import Player

HISTORY_SECONDS = 2.0
"""Seconds between two requests for the history, while it is shown."""


class HistoryRows:
    """The received rows of the history, by their step and by their start."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[float, HistoryRow]] = {}

    def add(self, step: int, rows: list[list[Any]]) -> None:
        """Add rows. A new row replaces the row with the same start, which was not complete."""
        known = self._rows.setdefault(step, {})
        for values in rows:
            row = HistoryRow(*values)
            known[row.when] = row
        most = int((SPANS[1] if step < 60 else SPANS[-1]) // step) + 2
        for when in sorted(known)[:-most]:
            del known[when]

    def of(self, step: int) -> list[HistoryRow]:
        """Return the rows of a step, in order."""
        return [row for _, row in sorted(self._rows.get(step, {}).items())]

    def newest(self, step: int) -> float:
        """Return when the newest row begins; 0 without rows. That row may not be complete yet."""
        return max(self._rows.get(step, ()), default=0.0)


class Heating(Ranking):
    """The heat maps."""

    player: Player | None
    history: HistoryRows
    forecast = ""
    """The effect of other numbers of workers, as a sentence."""

    def fetch_history(self) -> None:
        """Request new rows of the history if the heat maps are shown, also while an earlier moment is shown."""
        if self.tab == "heat" and not (self.paused and self.player is None):
            self.renew_heat(self._fetch_history)

    def renew_heat(self, renew: Callable[[], Awaitable[None]]) -> None:
        """Run `renew` in the background, unless an earlier run is still in progress."""
        if not any(worker.group == "history" and not worker.is_finished for worker in self.workers):
            self.run_worker(renew, group="history", exit_on_error=False)

    async def _fetch_history(self) -> None:
        """Request the history until there are no more new rows. The number of rows in one answer is limited."""
        step = step_of(self.behind.query_one(HeatView).span)
        since = -1.0
        while since < (newest := self.history.newest(step)):
            since = newest
            try:
                data = await self.feed.ask("history", by=step, since=since)
            except (Refusal, NoRuntime):
                return  # the header shows the problem, and the earlier rows stay
            self.history.add(step, data["rows"])
        await self.foretell()
        self.draw_heat()

    async def foretell(self) -> None:
        """Update the sentence below the heat maps."""
        raise NotImplementedError

    def draw_heat(self) -> None:
        """Draw the heat maps, if they are shown."""
        if self.tab == "heat":
            view = self.behind.query_one(HeatView)
            view.show(self.history.of(step_of(view.span)), self.model.now(), self.forecast)

    def action_zoom(self, by: int) -> None:
        """Show a longer or a shorter time: in the heat maps; else on the lock lanes, and of all figures."""
        if self.tab != "heat":
            super().action_zoom(by)
            return
        span = self.behind.query_one(HeatView).zoom(by)
        self.draw_heat()
        self.fetch_history()
        self.notify(f"heat maps of the last {format_span(span)}", timeout=2)

    @on(HeatView.Spanned)
    def _heat_spanned(self, event: HeatView.Spanned) -> None:
        self.limit((event.start, event.end), self.endpoint)
        self.action_tab("requests")
