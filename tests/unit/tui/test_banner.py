"""The banner: what is wrong stays in sight until its cause is gone."""

from __future__ import annotations

from typing import Any

import pytest

from faucet.tui.banner import Banner, NoticesScreen, notices_text
from tests.support.goldens import compare
from tests.support.screen import Open, drawn, keys, redrawn, screen_text
from tests.support.stage_picture import NOTICES, NOW, snapshot

INSTALL = NOTICES[0].command


async def tell(app: Any, pilot: Any, runtime: Any, notices: list[Any]) -> str:
    """The service tells of notices."""
    runtime.tell(snapshot(notices=notices))
    return await redrawn(app, pilot)


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 12), (200, 60)])
async def test_pictures(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        compare(f"banner-{size[0]}x{size[1]}", await tell(app, pilot, runtime, NOTICES))
        assert "serving OLD CODE" in screen_text(app)
        assert "forecast" not in await tell(app, pilot, runtime, [])
        assert "OLD CODE" not in screen_text(app)


@pytest.mark.parametrize("size", [(120, 36), (50, 12)])
async def test_pictures_of_all_that_is_known(opened: Open, size: tuple[int, int]) -> None:
    async with opened(size) as (app, pilot, runtime):
        await tell(app, pilot, runtime, NOTICES)
        await keys(app, pilot, "N")
        await drawn(app, pilot)
        compare(f"notices-{size[0]}x{size[1]}", screen_text(app))


async def test_in_ascii(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUCET_ASCII", "1")
    async with opened((80, 24)) as (app, pilot, runtime):
        text = await tell(app, pilot, runtime, NOTICES)
        assert text.splitlines()[1].startswith(" x 1 of 8 workers cannot start")
        assert text.splitlines()[1].isascii()
        assert notices_text(NOTICES[1:], NOW, plain=True).isascii()


async def test_y_copies_the_command_unless_lines_have_the_keys(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await tell(app, pilot, runtime, NOTICES)
        await keys(app, pilot, "y")
        assert app.clipboard == INSTALL
        await keys(app, pilot, "tab", "y")
        assert app.clipboard == app.view.current.text
        await tell(app, pilot, runtime, NOTICES[1:])
        await keys(app, pilot, "tab", "y")
        assert app.clipboard == app.view.current.text, "there is no command"


async def test_key_mouse_and_palette_lead_to_all_of_them(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        await tell(app, pilot, runtime, NOTICES)
        await pilot.click(Banner)
        assert isinstance(app.screen, NoticesScreen)
        assert "there is no package called" in screen_text(app)
        await pilot.click("#copy")
        assert app.clipboard == INSTALL
        await keys(app, pilot, "escape")
        commands = {command.title: command.callback for command in app.get_system_commands(app.screen)}
        await commands["Problems (notices)"]()
        await pilot.pause()
        assert isinstance(app.screen, NoticesScreen)
        runtime.tell(snapshot(notices=[]))
        app.screen._update()
        await pilot.pause()
        assert "Nothing is wrong." in screen_text(app)
        await pilot.click("#close")
        assert not isinstance(app.screen, NoticesScreen)


async def test_markup_in_what_r_wrote_is_text(opened: Open) -> None:
    async with opened() as (app, pilot, runtime):
        notice = NOTICES[0]._replace(text="Error: [bold]x[/]\x1b[2J", detail="[red]y[/]\x1b[2J")
        assert r"Error: [bold]x[/]\x1b[2J" in await tell(app, pilot, runtime, [notice])
        await keys(app, pilot, "N")
        assert r"[red]y[/]\x1b[2J" in screen_text(app)
