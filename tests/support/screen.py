"""The monitor's screen as text, and keys pressed on it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from textual.pilot import Pilot

from faucet.tui.app import Monitor
from faucet.tui.once import screen_text as screen_text  # noqa: PLC0414
from tests.support.stage_picture import StagedRuntime

Open = Callable[..., AbstractAsyncContextManager[tuple[Monitor, Pilot[str], StagedRuntime]]]


async def drawn(app: Monitor, pilot: Pilot[str]) -> None:
    """Draw now, and wait until that is done."""
    await pilot.pause()
    app._drawn = -1
    app._refresh()
    await pilot.pause()


async def keys(app: Monitor, pilot: Pilot[str], *names: str) -> None:
    """Press keys; wait until all they lead to has been done."""
    await pilot.press(*names)
    await pilot.pause()


async def redrawn(app: Monitor, pilot: Pilot[str]) -> str:
    """Redraw; return the text on the screen."""
    await drawn(app, pilot)
    return screen_text(app)
