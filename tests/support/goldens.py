"""Pictures of the monitor as text, compared with files."""

from __future__ import annotations

import os

from tests.support.checkout import ROOT

GOLDENS = ROOT / "tests/unit/tui/goldens"


def compare(name: str, text: str) -> None:
    """With the golden file; with FAUCET_GOLDENS=write it is written instead."""
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("FAUCET_GOLDENS") == "write":
        path.write_text(text)
    assert text == path.read_text()
