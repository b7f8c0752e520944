"""The part of the monitor about notices: the banner, and the keys for it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from faucet.tui.banner import Banner, NoticesScreen, repairing
from faucet.tui.lines import LineView
from faucet.tui.remembering import Remembering


class Noticing(Remembering):
    """The part of the monitor with the notices."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("N", "notices", "What is wrong", id="notices", show=False)]

    def draw_banner(self) -> None:
        """Draw the banner."""
        notices, size = self.model.notices, self.size
        self.behind.query_one(Banner).show_notices(notices, self.model.now(), size.width, size.height, self.plain)

    @on(Banner.Chosen)
    def _banner_chosen(self) -> None:
        self.action_notices()

    def action_notices(self) -> None:
        """Show all that is known of what is wrong."""
        self.push_screen(NoticesScreen(lambda: self.model.notices, self.model.now, self.plain))

    def action_copy(self) -> None:
        """Copy the line under the cursor, or the command in the banner if no lines have the keys (OSC 52: also over
        ssh)."""
        command = "" if isinstance(self.focused, LineView) else repairing(self.model.notices)
        line = self.view.current
        text = command or (line.text if line is not None else "")
        if text:
            self.copy_to_clipboard(text)
            self.notify("the command is copied" if command else "copied", timeout=2)
