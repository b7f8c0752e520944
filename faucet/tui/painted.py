"""Widgets that draw with paints, and the screen that has their colours.

Textual computes a style for each component class of each widget, again whenever a class or the focus of a widget in
front of it changes. With 25 paints in each of 16 widgets that was most of the monitor's work while it starts: so only
the screen has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rich.style import Style
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from faucet.tui.heat import HEATS
from faucet.tui.paint import FOOTER, PAINTS, strip_of


class PaintedScreen(Screen[Any]):
    """A screen whose widgets may be painted."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*PAINTS, *HEATS, *FOOTER}


class Painted(Widget):
    """A widget on a PaintedScreen that draws with paints, on its own background."""

    def __init__(self, *children: Widget, **options: Any) -> None:
        super().__init__(*children, **options)
        self._painted: dict[str, Style] = {}

    def paint(self, name: str) -> Style:
        """Return the style of a paint, such as `dim`."""
        return self.painted_as(f"paint--{name}")

    def painted_as(self, component: str) -> Style:
        """Return the style of a component class of the screen, with the background of this widget if it has none."""
        style = self._painted.get(component)
        if style is None:
            screen = self.screen
            assert isinstance(screen, PaintedScreen)
            style = screen.get_component_rich_style(component)
            if style.bgcolor == screen.rich_style.bgcolor:
                style += Style(bgcolor=self.rich_style.bgcolor)
            self._painted[component] = style
        return style

    def line(self, parts: Iterable[tuple[str, str]]) -> Strip:
        """Return a line as wide as this widget, of pairs of a text and its paint."""
        return strip_of([(text, self.paint(paint)) for text, paint in parts], self.size.width, self.paint("text"))

    def notify_style_update(self) -> None:
        """Called by Textual: a theme, the focus or a class has changed."""
        self._painted.clear()
        super().notify_style_update()
