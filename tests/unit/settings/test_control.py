"""How the control socket is named: values are parsed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from faucet.settings import Which, parse_control, parse_which
from faucet.settings.control import ControlPath


@pytest.mark.parametrize(
    ("text", "meant"), [("none", "none"), ("", None), ("/run/x.sock", Path("/run/x.sock")), ("./none", Path("./none"))]
)
def test_where_it_is_opened(text: str, meant: ControlPath | None) -> None:
    assert parse_control(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"), [("3838", 3838), ("", None), ("/run/x.sock", Path("/run/x.sock")), ("²", Path("²"))]
)
def test_which_is_looked_for(text: str, meant: Which | None) -> None:
    assert parse_which(text) == meant
