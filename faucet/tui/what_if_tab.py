"""The part of the monitor that shows the effect of other numbers of workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from faucet.status.snapshot import RequestRow
from faucet.tui.heat_tab import Heating
from faucet.tui.heat_view import HeatView
from faucet.tui.model import Model
from faucet.tui.screens import TextScreen
from faucet.tui.what_if import Outcome, forecast_text, outcomes, sentence

BACK = 300.0
"""Period of the requests that are simulated, in seconds."""

FRESH = 10.0
"""Least number of seconds between two updates of the sentence below the heat maps."""

SERVING = ("ready", "busy")


def known_requests(model: Model, now: float) -> list[RequestRow]:
    """Return the requests of the last BACK seconds, but only those after the last gap in the monitor's data."""
    since = max(now - BACK, *(end for _, end in list(model.holds.unknown)[-1:]), 0.0)
    served = [hold.item for hold in model.holds.since(since) if isinstance(hold.item, RequestRow)]
    others = [row for row in model.requests if not row.worker and row.ended >= since]
    return sorted([*served, *others])


class Forecasting(Heating):
    """The part of the monitor with the forecasts."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("W", "what_if", "What if", id="what-if", show=False)]

    _foretold = 0.0  # the model's time when the sentence was computed

    async def _outcomes(self) -> Sequence[Outcome]:
        """Simulate other numbers of workers, in a thread, since it may take a tenth of a second."""
        model = self.model
        workers = sum(row.state in SERVING for row in model.rows)
        limit = model.totals.queue_limit if model.totals is not None else 0
        return await asyncio.to_thread(outcomes, known_requests(model, model.now()), workers, limit)

    async def foretell(self) -> None:
        """Update the sentence below the heat maps, unless it is younger than FRESH."""
        now = self.model.now()
        if abs(now - self._foretold) < FRESH:
            return
        self.forecast = sentence(await self._outcomes(), self.plain)
        self._foretold = now

    @on(HeatView.AskedWhatIf)
    def action_what_if(self) -> None:
        """Show how long requests would have waited with one worker less, or one or two more."""
        self.run_worker(self._show_what_if(), group="what-if", exclusive=True)

    async def _show_what_if(self) -> None:
        measured = [row.waited for row in known_requests(self.model, self.model.now()) if row.worker]
        self.push_screen(TextScreen("What if", forecast_text(await self._outcomes(), measured)))
