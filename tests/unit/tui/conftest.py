"""A monitor for tests, against a staged runtime."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from faucet.settings import MonitorSettings
from faucet.tui.app import Monitor
from faucet.tui.memory import Layout
from faucet.tui.model import Model
from tests.support.screen import Open, drawn
from tests.support.stage_picture import NOW, StagedRuntime


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a monitor of some size, at a fixed moment, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr("faucet.tui.paint.ascii_only", lambda: False)
    monkeypatch.setattr("faucet.tui.app.ascii_only", lambda: bool(os.environ.get("FAUCET_ASCII")))
    monkeypatch.setattr(Model, "now", lambda self: NOW)
    monkeypatch.setattr("faucet.tui.app.sample_usage", lambda pids, seen, shared=False: {})
    import time

    time.tzset()

    @asynccontextmanager
    async def open_monitor(
        size: tuple[int, int] = (120, 36), owner: bool = True, read_only: bool = False, layout: Layout | None = None,
        **settings: Any,
    ) -> AsyncIterator[tuple[Monitor, Pilot[str], StagedRuntime]]:  # fmt: skip
        runtime = StagedRuntime()
        app = Monitor(runtime.connect, MonitorSettings(**settings), owner=owner, read_only=read_only, layout=layout)  # type: ignore[arg-type]
        async with app.run_test(size=size) as pilot:
            await drawn(app, pilot)
            yield app, pilot, runtime

    return open_monitor
