"""A quarter of an hour of a service with quick and slow requests, and a queue in the middle of it, for heat maps."""

from __future__ import annotations

from faucet.status.history import STEP, heat_of
from faucet.status.snapshot import HistoryRow
from tests.support.stage_picture import NOW


def row(when: float, seconds: int, age: float) -> HistoryRow:
    """The row that begins at `when`; `age` is the share of the span that lies before it, from 0 to 1."""
    crowded = 0.4 < age < 0.7
    service = sorted([*(0.002 + n / 5000 for n in range(30)), *(1.2 + n / 8 for n in range(5 if crowded else 2))])
    waited = sorted([0.0] * (4 if crowded else 30) + [0.2 * 40 ** (n / 28) for n in range(28 if crowded else 0)])
    return HistoryRow(when, seconds, len(service), 2 if crowded else 0, 1 if crowded else 0, 4, 28 if crowded else 0,
                      0.005, 1.3, service[-1], waited[len(waited) // 2], waited[-2], waited[-1],
                      heat_of([service]), heat_of([waited]))  # fmt: skip


def history(by: int, since: float) -> list[HistoryRow]:
    """Rows until NOW: of a quarter of an hour, or of three hours by the minute."""
    count = 180
    first = int(NOW // by) - count + 1
    rows = [row((first + n) * by, by, n / count) for n in range(count)]
    return [each for each in rows if each.when + by > since][: 60 if by == STEP else 100]
