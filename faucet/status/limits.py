"""The limits for endpoints as rows of a snapshot, and each as a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faucet.status.columns import format_age
from faucet.status.moments import moment
from faucet.status.snapshot import LimitRow
from faucet.text import visible
from faucet.units import counted

if TYPE_CHECKING:
    from faucet.proxy.pool import Pool


def limit_rows(pool: Pool) -> list[LimitRow]:
    """Return a row for each limit, in the order in which requests are matched against them."""
    return [
        LimitRow(
            match=kind.name,
            at_once=int(kind.at_once) if kind.enforced and kind.at_once != float("inf") else 0,
            locked=kind.locked,
            waiting=len(kind.queue),
            queue_limit=kind.places,
            oldest=moment(kind.oldest) if kind.queue else 0.0,
            held=round(kind.mean_held, 6),
            refused=kind.refused,
        )
        for kind in (pool.limits.limited)
    ]


def limit_line(row: LimitRow, now: float) -> str:
    """Return one line about a limit: `limit GET /report/*: 1 of 1 at once, 3 queued, the first for 31.0s`."""
    most = f" of {row.at_once}" if row.at_once else ""
    text = f"limit {visible(row.match)}: {row.locked}{most} at once"
    if row.waiting:
        text += f", {row.waiting} of {row.queue_limit} queued, the first for {format_age(now - row.oldest)}"
    if row.waiting and row.at_once and row.locked >= row.at_once:
        text += ", for one another and not for a worker"
    return f"{text}, {counted(row.refused, 'refusal')}" if row.refused else text
