"""What tests of `faucet doctor` share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment says is not what is tested."""
    for name in list(os.environ):
        if name.startswith("FAUCET_"):
            monkeypatch.delenv(name)
