"""Draw the monitor's screen once without a terminal, as text or SVG, for reports."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from textual.pilot import Pilot

from faucet.settings import AttachSettings
from faucet.tui.app import Monitor
from faucet.tui.feed import Connect
from faucet.tui.memory import Layout

PATIENCE = 10.0
"""Seconds to wait for the first snapshot. After them, the screen is drawn as it is."""

SETTLE = 0.5
"""Seconds from the first snapshot to the drawing, in which log, requests and endpoints arrive, and CPU is measured."""


def screen_text(app: Any) -> str:
    """Return the screen of `app` as lines of text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


def draw_once(connect: Connect, settings: AttachSettings) -> str:
    """Return the monitor's screen as text, or as SVG if the settings name a file for it. Raises NoRuntime."""
    app = Monitor(connect, settings, owner=False, read_only=True, layout=Layout(tab=settings.view))
    if settings.svg is None:
        app.no_color = True  # text has no colours
    drawn: list[str] = []

    async def draw(pilot: Pilot[Any]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await app.feed.heard.wait()
        app.fetch_endpoints()
        app.sample_usage()
        await pilot.pause(SETTLE)
        app.sample_usage()
        app.draw_now()
        await pilot.pause()
        drawn.append(app.export_screenshot() if settings.svg is not None else screen_text(app))
        app.exit()

    app.run(headless=True, size=settings.size, auto_pilot=draw)
    return drawn[0] if drawn else ""
