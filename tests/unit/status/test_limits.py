"""A limit as a line of text."""

from __future__ import annotations

import pytest

from faucet.status.limits import limit_line
from faucet.status.snapshot import LimitRow

ROW = LimitRow("GET /report/*", at_once=1, locked=1, waiting=0, queue_limit=50, oldest=0.0, held=2.0, refused=0)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (ROW, "1 of 1 at once"),
        (ROW._replace(at_once=0, locked=3), "3 at once"),
        (
            ROW._replace(waiting=3, oldest=60.0),
            "1 of 1 at once, 3 of 50 queued, the first for 40.0s, for one another and not for a worker",
        ),
        (ROW._replace(locked=0, waiting=3, oldest=60.0), "0 of 1 at once, 3 of 50 queued, the first for 40.0s"),
        (ROW._replace(refused=1), "1 of 1 at once, 1 refusal"),
    ],
)
def test_line(row: LimitRow, line: str) -> None:
    assert limit_line(row, 100.0) == f"limit GET /report/*: {line}"
