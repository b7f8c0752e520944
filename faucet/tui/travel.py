"""The part of the monitor for time travel: through the monitor's own recording while paused, or through a file."""

from __future__ import annotations

from time import monotonic
from typing import Any, ClassVar

from textual import on
from textual.binding import Binding, BindingType

from faucet.tui.actions import COMMANDS
from faucet.tui.heat import step_of
from faucet.tui.heat_tab import HistoryRows
from faucet.tui.heat_view import HeatView
from faucet.tui.lane_view import LaneView
from faucet.tui.lines import LineView
from faucet.tui.replay import BACK, Player, endpoints_of, history_of, lines_of, requests_of
from faucet.tui.replay_feed import ReplayFeed
from faucet.tui.spans import LIMITED
from faucet.tui.time_line import TimeLine
from faucet.tui.what_if_tab import Forecasting

SECOND, MINUTE = 1, 60
"""Length of a step, in seconds."""

CHANGING = (*COMMANDS, "cancel")
"""Actions that change the running service, and so are disabled while the past is shown."""

TRAVELS = ("arrow", "travel", "travel_to")


class Travelling(Forecasting):
    """The part of the monitor for time travel."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", f"arrow(-{SECOND})", "Back", show=False, priority=True),
        Binding("right", f"arrow({SECOND})", "On", show=False, priority=True),
        Binding("comma", f"travel(-{SECOND})", "1s back", id="back", key_display=",", priority=True),
        Binding("full_stop", f"travel({SECOND})", "1s forward", id="on", key_display=".", priority=True),
        Binding("less_than_sign,shift+left", f"travel(-{MINUTE})", "1m back", id="minute-back", key_display="<",
                priority=True),
        Binding("greater_than_sign,shift+right", f"travel({MINUTE})", "1m forward", id="minute-on", key_display=">",
                priority=True),
        Binding("home", "travel_to(0)", "Oldest", id="oldest", show=False, priority=True),
        Binding("end", "travel_to(1)", "Newest", id="newest", show=False, priority=True),
    ]  # fmt: skip

    player: Player | None = None
    """The past that is shown; None: the present."""
    _played: float | None = None
    _endpoints_until = -1.0

    @property
    def replaying(self) -> bool:
        """Whether the monitor shows a recording instead of a running service."""
        return isinstance(self.feed, ReplayFeed)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Called by Textual: whether an action is available. In the past nothing can be changed."""
        if action in TRAVELS:
            in_front = len(self.screen_stack) > 1 or self.behind.query_one("#filter").display
            taken = action == "arrow" and isinstance(self.focused, LaneView | HeatView)  # there they select something
            return (self.paused or self.replaying) and not in_front and not taken
        return super().check_action(action, parameters) and not (self.player is not None and action in CHANGING)

    def action_pause(self) -> None:
        """Pause the screen, to go back in time with the arrows; or resume it."""
        self.paused = not self.paused
        self._played = monotonic()
        if not self.paused and not self.replaying:
            self._show_model(None, anew=self.player is not None)
        self.refresh_bindings()
        self.draw()

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Send a command to the service; `logs` of the past come from the recording. Raises Refusal, NoRuntime."""
        if self.player is not None and do == "logs":
            return lines_of(self.player.model, **arguments)
        return await super().ask(do, **arguments)

    def show_worker(self, name: str) -> None:
        """Show the details of a worker, which are not recorded."""
        if self.player is None:
            super().show_worker(name)
        else:
            self.notify("the details of a worker are not recorded", severity="warning", timeout=3)

    def action_arrow(self, by: int) -> None:
        """Go back in time, or on."""
        self.action_travel(by)

    def action_travel(self, by: int) -> None:
        """Go back in time, or on."""
        self.go_to((self.player.at if self.player is not None else self.feed.recording.end) + by)

    def action_travel_to(self, end: int) -> None:
        """Go to the oldest moment that is known, or to the newest."""
        self.go_to(self.feed.recording.end if end else self.feed.recording.start)

    @on(TimeLine.Chosen)
    def _moment_chosen(self, event: TimeLine.Chosen) -> None:
        self.paused = True
        self.go_to(event.when)

    @on(HeatView.Picked)
    def _picked_on_heat(self, event: HeatView.Picked) -> None:
        recording = self.feed.recording
        if recording.start <= event.when:
            self.paused = True
            self.action_tab("lanes")
            self.go_to(event.when)
        else:
            self.notify("not recorded: the monitor was not running then (--black-box records always)", timeout=4)

    def go_to(self, when: float) -> None:
        """Show everything as it was at a moment; in seconds since the epoch."""
        if not self.feed.recording.chunks:
            return
        player = self.player or Player(self.feed.recording)
        before = player.model
        player.seek(when, self._back())
        self._show_model(player, player.model is not before)
        self.refresh_bindings()
        self.draw_now()

    def _back(self) -> float:
        """Return how many seconds before the moment the current view needs."""
        heat = self.behind.query_one(HeatView).span if self.tab == "heat" and self.replaying else 0.0
        return max(BACK, self.feed.window, heat)

    def _show_model(self, player: Player | None, anew: bool = True) -> None:
        self.player = player
        self.model = player.model if player is not None else self.feed.model
        for name in LIMITED if anew else ():
            self.behind.query_one(f"#{name}", LineView).begin_anew()

    def play(self) -> None:
        """Advance in a recording in real time."""
        now = monotonic()
        passed, self._played = now - (self._played or now), now
        if self.replaying and not self.paused and self.player is not None:
            if self.player.at >= self.feed.recording.end:
                self.action_pause()
            else:
                self.go_to(self.player.at + passed)

    def draw_past(self) -> None:
        """Draw the time line, and the views that are computed from the recording."""
        line = self.behind.query_one(TimeLine)
        recording, player = self.feed.recording, self.player
        line.display = bool(recording.chunks) and (self.paused or self.replaying)
        if not line.display:
            return
        arrows = "left right" if self.plain else "← →"
        hint = f"{arrows} 1s  < > 1m  space {'resumes' if self.paused else 'pauses'}"
        when = player.at if player is not None else recording.end
        line.show_moment(when, recording.start, recording.end, hint, self.plain)
        if player is not None:
            self._draw_own(player)

    def _draw_own(self, player: Player) -> None:
        """Compute and draw, from the recording, the views for which a running service would be asked."""
        if self.tab == "endpoints" and self._endpoints_until != player.at:
            self._endpoints_until = player.at
            window = self.feed.window
            self.endpoint_rows = endpoints_of(requests_of(player.model, player.at - window), player.at, window)
            self.draw_endpoints()
        if self.tab == "heat" and self.replaying:
            step = step_of(self.behind.query_one(HeatView).span)
            self.history = HistoryRows()
            self.history.add(step, [list(row) for row in history_of(requests_of(player.model, 0.0), step)])
            self.renew_heat(self._foretell_past)

    async def _foretell_past(self) -> None:
        await self.foretell()
        self.draw_heat()

    def draw(self) -> None:
        """Draw everything."""
        raise NotImplementedError

    def draw_now(self) -> None:
        """Draw, whether or not something has changed."""
        raise NotImplementedError
