"""What tests of `faucet doctor` share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.findings import GOOD


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's own environment says is not what is tested."""
    for name in list(os.environ):
        if name.startswith("FAUCET_"):
            monkeypatch.delenv(name)


@pytest.fixture
def api(tmp_path: Path) -> Path:
    """A directory with a plumber.R."""
    where = tmp_path / "api"
    where.mkdir()
    (where / "plumber.R").write_text(GOOD)
    return where


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
