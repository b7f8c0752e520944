"""Memory of processes: what they share, and what is their own; and the columns that show it."""

from __future__ import annotations

import os
import sys

from faucet.status.columns import Cell, columns_of
from faucet.status.usage import sample_usage
from tests.support.stage_picture import NOW, SERVICE, worker


def test_what_is_shared_is_measured_only_where_workers_share() -> None:
    pid = os.getpid()
    alone = sample_usage({pid: None}, {})[pid]
    assert (alone.pss, alone.uss) == (0, 0)
    shared = sample_usage({pid: None}, {}, shared=True)[pid]
    assert 0 < shared.uss <= shared.rss
    if sys.platform == "linux":
        assert shared.uss <= shared.pss <= shared.rss


def test_forked_workers_have_columns_of_their_own() -> None:
    assert [column.title for column in columns_of("local") if column.id in ("rss", "pss", "uss")] == ["RSS"]
    assert [column.title for column in columns_of("preload") if column.id in ("rss", "pss", "uss")] == ["PSS", "USS"]
    cell = Cell(worker("1"), NOW, None, False)
    assert {column.text(cell) for column in columns_of("preload") if column.id in ("pss", "uss")} == {"-"}


def test_the_kind_of_workers_stays_while_there_is_no_template() -> None:
    assert [SERVICE._replace(template=pid).kind for pid in (-1, 0, 4711)] == ["local", "preload", "preload"]
