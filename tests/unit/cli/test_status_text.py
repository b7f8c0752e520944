"""`faucet ctl status`: the lines above the workers."""

from __future__ import annotations

from typing import Any

from faucet.cli.status_text import head_lines
from faucet.status.snapshot import Notice
from tests.support.stage_picture import NOW, SERVICE, TOTALS


def data(*notices: Notice) -> Any:
    return {
        "now": NOW,
        "service": SERVICE._asdict(),
        "totals": TOTALS._asdict(),
        "notices": [notice._asdict() for notice in notices],
        "limits": [],
    }


def test_old_code_is_told_with_the_state_as_in_the_monitor() -> None:
    reload = Notice(
        "reload", "error", NOW - 5, "reload failed: plumber.R:3:1: unexpected '}'; 2 old workers still serve"
    )
    assert "serving, up" in head_lines(data(), ascii_only=False)[0]
    assert "serving OLD CODE, up" in head_lines(data(reload), ascii_only=False)[0]
