"""The last line: the keys that work now, to be read and to be clicked."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.app import App
from textual.binding import ActiveBinding
from textual.screen import Screen
from textual.strip import Strip

from faucet.tui.paint import Part, strip_of
from faucet.tui.painted import Painted

PALETTE_WIDTH = 100
"""Terminal width, in columns, from which the key of the command palette is shown too."""


class Key(NamedTuple):
    """A key on the line."""

    name: str
    """As Textual knows it."""
    shown: str
    text: str
    enabled: bool
    start: int
    """Column of its first cell."""

    @property
    def end(self) -> int:
        """The column behind its last cell."""
        return self.start + cell_len(self.shown) + 1 + cell_len(self.text)


def in_a_row(app: App[object], active: list[ActiveBinding]) -> list[Key]:
    """Return the keys of these bindings from left to right, each action once, a space between two."""
    keys: list[Key] = []
    actions: set[str] = set()
    start = 0
    for _, binding, enabled, _ in active:
        if binding.action not in actions:
            actions.add(binding.action)
            keys.append(Key(binding.key, app.get_key_display(binding), binding.description, enabled, start))
            start = keys[-1].end + 1
    return keys


class KeyLine(Painted):
    """The keys, on one line that is drawn as a whole.

    Textual's Footer makes a widget of each key, a dozen anew whenever the focus moves, which took a quarter of the time
    until the monitor was drawn.
    """

    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[Key] = []
        self._under_mouse: Key | None = None

    def on_mount(self) -> None:
        """Called by Textual."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def on_resize(self) -> None:
        """Called by Textual."""
        self._bindings_changed(self.screen)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        """Lay out the keys that work now, as far as there is room."""
        if not self.is_attached or screen is not self.screen or not self.app.app_focus:
            return
        active = screen.active_bindings
        keys = in_a_row(self.app, [one for one in active.values() if one.binding.show])
        palette = active.get(self.app.COMMAND_PALETTE_BINDING) if self.app.ENABLE_COMMAND_PALETTE else None
        if palette is not None and self.size.width >= PALETTE_WIDTH:
            (last,) = in_a_row(self.app, [palette])
            last = last._replace(start=self.size.width - last.end)
            keys = [*(key for key in keys if key.end < last.start), last]
        keys = [key for key in keys if key.end <= self.size.width]
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    # -- drawing -----------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Called by Textual."""
        base = self.painted_as("footer--text")
        parts: list[Part] = []
        at = 0
        for key in self._keys:
            parts += [(" " * (key.start - at), base), *self._parts(key)]
            at = key.end
        return strip_of(parts, self.size.width, base)

    def _parts(self, key: Key) -> list[Part]:
        first, rest = self.painted_as("footer--key"), self.painted_as("footer--text")
        if key == self._under_mouse:
            hover = self.painted_as("footer--hover")
            first, rest = hover + Style(bold=True), hover
        if not key.enabled:
            first, rest = first + Style(dim=True), rest + Style(dim=True)
        return [(key.shown, first), (f" {key.text}", rest)]

    # -- mouse -------------------------------------------------------------------------------------------------

    def _key_at(self, column: int) -> Key | None:
        return next((key for key in self._keys if key.start <= column < key.end), None)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Called by Textual."""
        self._hover(self._key_at(event.x))

    def on_leave(self) -> None:
        """Called by Textual."""
        self._hover(None)

    def _hover(self, key: Key | None) -> None:
        if key != self._under_mouse:
            self._under_mouse = key
            self.refresh()

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Called by Textual: do what the key does."""
        key = self._key_at(event.x)
        if key is None:
            return
        if key.enabled:
            self.app.simulate_key(key.name)
        else:
            self.app.bell()
