"""The top of the monitor: one line that says what is served, and the tiles with their last minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from faucet.status.columns import format_age
from faucet.status.snapshot import SecondRow, Service, Totals
from faucet.text import visible
from faucet.tui.model import Model
from faucet.tui.paint import PAINTS, fit, sparkline, strip_of
from faucet.units import format_duration

Parts = Sequence[tuple[str, str]]
"""Texts, and the paint of each."""


class PaintedLines(Widget):
    """A few lines that are drawn again only when they change."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(PAINTS)

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._lines: list[Parts] = []

    def show(self, lines: list[Parts]) -> None:
        """Show these lines."""
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        parts = self._lines[y] if y < len(self._lines) else ()
        styled = [(text, self.get_component_rich_style(f"paint--{paint}")) for text, paint in parts]
        return strip_of(styled, self.size.width, self.get_component_rich_style("paint--text"))


ROOMY = 70
"""Columns from which the whole address is shown."""

GLYPHS = {"serving": ("●", "ok"), "starting": ("◌", "warning"), "draining": ("▽", "warning"), "failing": ("✖", "error")}


class HeaderLine(PaintedLines):
    """What is served, where, since when; or what is the matter."""

    def show_model(self, model: Model, remark: str, plain: bool) -> None:
        """Show the state of `model`; a `remark` at the right, if there is one."""
        service = model.service
        width = self.size.width
        if service is None or model.link:
            self.show([[(fit(f" faucet  {model.link or 'connecting'}", width, plain=plain), "banner")]])
            return
        glyph, paint = GLYPHS.get(service.state, ("?", "warning"))
        left: list[tuple[str, str]] = [
            (" faucet ", "strong"), (f" {visible(_short(service.title, width, plain))}", "text"),
            (f"  {service.url if width >= ROOMY else f':{service.port}'}", "title"),
            (f"  {'*' if plain else glyph} {service.state}", paint),
        ]  # fmt: skip
        room = max(width - sum(len(text) for text, _ in left) - 3, 0)
        news = remark or service.notice
        age = f"up {format_age(model.now() - service.started)}  pid {service.pid}"
        right = fit(news, room, right=True, plain=plain) if news else age.rjust(room) if len(age) <= room else ""
        self.show([[*left, ("  ", "text"), (right, "warning" if news else "dim")]])


def _short(title: str, width: int, plain: bool) -> str:
    """The end of a path tells more than its beginning."""
    parts = title.split("/")
    kept = 2 if width >= ROOMY else 1
    if len(parts) <= kept + 1 or "://" in title:
        return title
    start = ("../" if plain else "…/") if kept > 1 else ""
    return start + "/".join(parts[-kept:])


class OriginLine(PaintedLines):
    """Where workers come from that are not our own: how they are found, through what they are reached."""

    def show_service(self, service: Service | None, now: float, plain: bool) -> None:
        """Show it, if there is something to show."""
        self.display = service is not None and bool(service.resolved_by)
        if service is None or not self.display:
            return
        parts: list[tuple[str, str]] = [(" ", "text")]
        if service.link:
            state = "ok" if service.link_state == "up" else "error"
            age = format_age(now - service.link_since)
            parts += [("through ", "dim"), (service.link, "text"), (f"  {service.link_state} {age}", state)]
            parts += [(f"  {service.link_detail}", "dim"), ("   ", "text")]
        told = f"told {format_age(now - service.resolved)} ago" if service.resolved else "nothing told yet"
        parts += [("pods by ", "dim"), (service.resolved_by.partition(", from ")[0], "text")]
        parts += [(f", {told}", "warning" if service.trouble else "dim")]
        self.show([parts])


class Tile(NamedTuple):
    """One number with its last minute."""

    label: str
    share: int
    """Of the width, in per cent."""
    text: Callable[[Totals, float], str]
    value: Callable[[SecondRow], float]
    alarm: Callable[[Totals], bool]


def _rate(totals: Totals, now: float) -> str:
    return f"{totals.rps:.1f}" if totals.rps < 1000 else f"{totals.rps:.0f}"


def _queue_text(totals: Totals, now: float) -> str:
    age = f"  {format_age(now - totals.oldest)}" if totals.oldest else ""
    return f"{totals.waiting}{age}"


def _latencies(totals: Totals, now: float) -> str:
    return " ".join(format_duration(value) if value else "-" for value in (totals.p50, totals.p95, totals.p99))


TILES = (
    Tile("rps", 15, _rate, lambda s: s.rps, lambda t: False),
    Tile("p50/95/99", 30, _latencies, lambda s: s.p95, lambda t: False),
    Tile("locks", 16, lambda t, now: f"{t.locked}/{t.workers}", lambda s: s.locked, lambda t: False),
    Tile("queue", 21, _queue_text, lambda s: s.waiting, lambda t: t.waiting > t.workers),
    Tile(
        "5xx/503", 18, lambda t, now: f"{t.errors}/{t.refused}", lambda s: s.errors, lambda t: t.errors + t.refused > 0
    ),
)


class Tiles(PaintedLines):
    """The numbers that matter, side by side; where there is room, with a sparkline of the last minute below each."""

    def show_model(self, model: Model, plain: bool) -> None:
        """Show the numbers of `model`."""
        totals = model.totals
        if totals is None:
            return
        texts: list[tuple[str, str]] = [(" ", "text")]
        sparks: list[tuple[str, str]] = [(" ", "text")]
        for tile in TILES:
            width = (self.size.width - 1) * tile.share // 100
            text = fit(tile.text(totals, model.now()), width - len(tile.label) - 2, plain=plain)
            texts += [(f"{tile.label} ", "title"), (text, "error" if tile.alarm(totals) else "strong"), (" ", "text")]
            line = sparkline([tile.value(second) for second in model.seconds], width - 2, plain)
            sparks.append((line.rjust(width - 2) + "  ", "spark"))
        self.show([texts, sparks])


class TabLine(PaintedLines):
    """The names of the views, one of them marked; a click chooses."""

    class Chosen(Message):
        """A view was chosen."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._ends: list[tuple[int, str]] = []

    def show_tabs(self, tabs: list[tuple[str, str]], active: str, hint: str) -> None:
        """`tabs` are names and labels."""
        parts: list[tuple[str, str]] = []
        self._ends = []
        end = 0
        for name, label in tabs:
            text = f" {label} "
            end += len(text)
            self._ends.append((end, name))
            parts.append((text, "cursor" if name == active else "title"))
        parts += [("  ", "text"), (hint, "warning")]
        self.show([parts])

    def on_click(self, event: events.Click) -> None:
        """Called by Textual."""
        for end, name in self._ends:
            if event.x < end:
                self.post_message(self.Chosen(name))
                return
