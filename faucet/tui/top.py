"""The top of the monitor: the header, the origin of the workers, the tiles with figures, and the tabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.message import Message
from textual.strip import Strip

from faucet.fleet import Group
from faucet.status.columns import format_age, format_latency
from faucet.status.format import format_span
from faucet.status.group import group_of, others_text, role_text, trouble_text
from faucet.status.snapshot import SecondRow, Service, Totals
from faucet.text import visible
from faucet.tui.model import Model
from faucet.tui.paint import fit, sparkline
from faucet.tui.painted import Painted
from faucet.units import format_size

Parts = Sequence[tuple[str, str]]
"""Pairs of a text and its paint."""


class PaintedLines(Painted):
    """A few lines that are redrawn only when they change."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._lines: list[Parts] = []

    def show(self, lines: list[Parts]) -> None:
        """Show these lines, and redraw if they have changed."""
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        return self.line(self._lines[y] if y < len(self._lines) else ())


ROOMY = 70
"""Terminal width, in columns, from which the whole address is shown."""

GLYPHS = {"serving": ("●", "ok"), "starting": ("◌", "warning"), "draining": ("▽", "warning"), "failing": ("✖", "error")}


class HeaderLine(PaintedLines):
    """The title, address and uptime of the service, or the problem of the connection."""

    def show_model(self, model: Model, remark: str, plain: bool) -> None:
        """Show the state of `model`, with `remark` at the right unless it is empty."""
        service = model.service
        width = self.size.width
        if service is None or model.link:
            self.show([[(fit(f" faucet  {model.link or 'connecting'}", width, plain=plain), "banner")]])
            return
        glyph, paint = GLYPHS.get(service.state, ("?", "warning"))
        name, title = " faucet ", visible(_short(service.title, width, plain))
        where = f"  {service.url if width >= ROOMY else f':{service.port}'}"
        old = any(notice.kind == "reload" for notice in model.notices)
        state = f"  {'*' if plain else glyph} {service.state}{' OLD CODE' if old else ''}"
        paint = "warning" if old and paint == "ok" else paint
        most = max(width - len(name + where + state) - 1, 0)  # the state is never cut
        if cell_len(title) > most:
            title = fit(title, most, plain=plain)
        left: list[tuple[str, str]] = [(name, "strong"), (f" {title}", "text"), (where, "title"), (state, paint)]
        room = max(width - sum(len(text) for text, _ in left) - 3, 0)
        in_banner = any(notice.text == service.notice for notice in model.notices)
        notice = remark or ("" if in_banner else service.notice)
        age = f"up {format_age(model.now() - service.started)}  pid {service.pid}"
        load = _load(model.totals)
        if load and len(load) + len(age) + 2 <= room:
            age = f"{load}  {age}"
        right = fit(notice, room, right=True, plain=plain) if notice else age.rjust(room) if len(age) <= room else ""
        self.show([[*left, ("  ", "text"), (right, "warning" if notice else "dim")]])


def _load(totals: Totals | None) -> str:
    """Return the number of clients and the buffers in use, as text."""
    if totals is None:
        return ""
    return f"{totals.clients} clients  buffers {format_size(totals.buffered)}/{format_size(totals.buffer_total)}"


def _short(title: str, width: int, plain: bool) -> str:
    """Return `title`; if it is a path, shortened to its last parts."""
    parts = title.split("/")
    kept = 2 if width >= ROOMY else 1
    if len(parts) <= kept + 1 or "://" in title:
        return title
    start = ("../" if plain else "…/") if kept > 1 else ""
    return start + "/".join(parts[-kept:])


class OriginLine(PaintedLines):
    """For pods: how pods are discovered and reached."""

    def show_service(self, service: Service | None, now: float, plain: bool) -> None:
        """Show the line, or hide it if there is nothing to show."""
        self.display = service is not None and bool(service.resolved_by)
        if service is None or not self.display:
            return
        parts: list[tuple[str, str]] = [(" ", "text")]
        if group := group_of(service.group):
            parts += group_parts(group, now)
        if service.link:
            state = "ok" if service.link_state == "up" else "error"
            age = format_age(now - service.link_since)
            parts += [("via ", "dim"), (service.link, "text"), (f"  {service.link_state} {age}", state)]
            parts += [(f"  {service.link_detail}", "dim"), ("   ", "text")]
        resolved = f"resolved {format_age(now - service.resolved)} ago" if service.resolved else "not resolved yet"
        parts += [("pods from ", "dim"), (service.resolved_by.partition(", from ")[0], "text")]
        parts += [(f", {resolved}", "warning" if service.trouble else "dim")]
        self.show([parts])


def group_parts(group: Group, now: float) -> Parts:
    """Return the role of this Faucet, the states of the others, and any problem."""
    wrong = trouble_text(group, now) or group.why_not_ready
    parts = [(role_text(group, now), "strong" if group.role == "active" else "text")]
    parts += [(f"  {text}", "dim") for text in (others_text(group),) if text]
    return [*parts, *([(f"  {wrong}", "error")] if wrong else []), ("   ", "text")]


class Tile(NamedTuple):
    """One figure, with its history of the last minute."""

    label: str
    share: int
    """Share of the width, in per cent."""
    text: Callable[[Totals, float], str]
    value: Callable[[SecondRow], float]
    alarm: Callable[[Totals], bool]
    short: str = ""
    """A shorter label, used if the figure does not fit beside the full label."""

    def shown(self, totals: Totals, now: float, width: int, plain: bool) -> tuple[str, str]:
        """Return the label and the figure. Together, with a blank after each, they take `width` columns."""
        text = self.text(totals, now)
        label = self.short if self.short and cell_len(self.label + text) + 2 > width else self.label
        return label, fit(text, width - len(label) - 2, plain=plain)


def _rate(totals: Totals, now: float) -> str:
    return f"{totals.rps:.1f}" if totals.rps < 1000 else f"{totals.rps:.0f}"


def _queue_text(totals: Totals, now: float) -> str:
    age = f" {format_age(now - totals.oldest)}" if totals.oldest else ""
    return f"{totals.waiting}{age}"


def _latencies(totals: Totals, now: float) -> str:
    return " ".join(map(format_latency, (totals.p50, totals.p95, totals.p99)))


TILES = (
    Tile("rps", 13, _rate, lambda s: s.rps, lambda t: False),
    Tile("p50/95/99", 36, _latencies, lambda s: s.p95, lambda t: False),
    Tile("busy", 14, lambda t, now: f"{t.locked}/{t.workers}", lambda s: s.locked, lambda t: False),
    Tile("queue", 20, _queue_text, lambda s: s.waiting, lambda t: t.waiting > t.workers),
    Tile(
        "5xx/503",
        17,
        lambda t, now: f"{t.errors}/{t.refused}",
        lambda s: s.errors,
        lambda t: t.errors + t.refused > 0,
        "5xx",
    ),
)


COMPACT = 64
"""Terminal width below which the figures are shown on one line, the most important first."""


def _compact(totals: Totals, now: float) -> list[tuple[str, str]]:
    """Return the main figures on one line of 50 columns."""
    oldest = f" {now - totals.oldest:.0f}s" if totals.oldest else ""
    figures = [
        ("", f"{_rate(totals, now)}/s", False),
        ("queue", f"{totals.waiting}{oldest}", totals.waiting > totals.workers),
        ("busy", f"{totals.locked}/{totals.workers}", False),
        ("p95", format_latency(totals.p95), False),
        ("5xx", f"{totals.errors}/{totals.refused}", totals.errors + totals.refused > 0),
    ]
    parts = []
    for label, text, alarming in figures:
        parts += [(f"{label} " if label else "", "title"), (f"{text}  ", "error" if alarming else "strong")]
    return parts


class Tiles(PaintedLines):
    """The main figures side by side after their window; if there is room, with a sparkline of the last minute below
    each."""

    def show_model(self, model: Model, plain: bool) -> None:
        """Show the totals of `model`."""
        totals = model.totals
        if totals is None:
            return
        if self.size.width < COMPACT:
            self.show([[(" ", "text"), *_compact(totals, model.now())]])
            return
        window = f" {format_span(totals.seconds):>3} "
        texts: list[tuple[str, str]] = [(window, "dim")]
        sparks: list[tuple[str, str]] = [(f" {format_span(len(model.seconds)):>3} ", "dim")]
        for tile in TILES:
            width = (self.size.width - len(window)) * tile.share // 100
            label, text = tile.shown(totals, model.now(), width, plain)
            texts += [(f"{label} ", "title"), (text, "error" if tile.alarm(totals) else "strong"), (" ", "text")]
            line = sparkline([tile.value(second) for second in model.seconds], width - 2, plain)
            sparks.append((line.rjust(width - 2) + "  ", "spark"))
        self.show([texts, sparks])


class TabLine(PaintedLines):
    """The names of the views, with the active one marked. A click selects a view."""

    class Chosen(Message):
        """The user has selected a view."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._ends: list[tuple[int, str]] = []

    def show_tabs(self, tabs: list[tuple[str, str]], active: str, hint: str, bracketed: bool) -> None:
        """Show `tabs` (names and labels), with the name `active` marked and `hint` at the right.

        `bracketed`: also mark it with brackets, since there may be no colours.
        """
        parts: list[tuple[str, str]] = []
        self._ends = []
        end = 0
        for name, label in tabs:
            text = f"[{label}]" if bracketed and name == active else f" {label} "
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
