"""The worst current problem in one line, for terminals without room for the log."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile

from faucet.log.r_errors import gist
from faucet.status.columns import format_age
from faucet.status.endpoint import endpoint_of
from faucet.status.snapshot import RequestRow, WorkerRow
from faucet.text import visible
from faucet.tui.model import Model
from faucet.tui.top import PaintedLines

RECENT = 60.0
"""Seconds for which a problem counts as current."""


def worst_of(model: Model, slow: float, plain: bool) -> tuple[str, str]:
    """Return the worst problem of the last minute as text and paint: failures, errors or the longest lock; or empty.

    `slow`: seconds for which a lock may be held before that counts.
    """
    since = model.now() - RECENT
    recent = takewhile(lambda row: row.ended >= since, reversed(model.requests))
    failed = [row for row in recent if row.status >= 500]
    if failed:
        return _failures(failed, model, plain), "error"
    trouble = next((row for row in reversed(model.events) if row.source in ("error", "warning")), None)
    if trouble is not None and trouble.when >= since:
        return visible(trouble.text), trouble.source
    held = [row for row in model.rows if row.locked and model.now() - row.locked > slow]
    return (_slowest(held, model), "warning") if held else ("", "text")


def _failures(failed: list[RequestRow], model: Model, plain: bool) -> str:
    """Return the endpoint with most failures, and the reason of the latest. `failed`: the newest first."""
    kinds = Counter((row.status, endpoint_of(row.method, row.target)) for row in failed)
    (status, endpoint), count = kinds.most_common(1)[0]
    latest = next(row for row in failed if (row.status, endpoint_of(row.method, row.target)) == (status, endpoint))
    why = gist(latest.error or latest.note)
    times = f"  {'x' if plain else '×'}{count}" if count > 1 else ""
    return f"{status} {endpoint}{times}{f'  {visible(why)}' if why else ''}"


def _slowest(held: list[WorkerRow], model: Model) -> str:
    row = min(held, key=lambda row: row.locked)
    return f"worker {row.name}: {visible(row.request)} for {format_age(model.now() - row.locked)}"


class WorstLine(PaintedLines):
    """The line with the worst problem of the last minute."""

    def show_model(self, model: Model, slow: float, plain: bool) -> None:
        """Show the worst problem of `model`, or an empty line."""
        text, paint = worst_of(model, slow, plain)
        mark = "" if not text else "x " if plain else "✖ "
        self.show([[(f" {mark}{text}", paint)]])
