"""The monitor application: redraws the screen a few times per second, and turns keys into commands to the runtime."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic, strftime
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input

from faucet.control.client import NoRuntime
from faucet.control.recording import Recording
from faucet.settings import MonitorSettings
from faucet.status.columns import COLUMNS, Cell
from faucet.status.snapshot import RequestRow
from faucet.status.usage import Usage, sample_usage
from faucet.tui.actions import COMMANDS, ON_A_WORKER
from faucet.tui.banner import Banner
from faucet.tui.feed import Connect, Feed
from faucet.tui.footer import KeyLine
from faucet.tui.heat_tab import HISTORY_SECONDS, HistoryRows
from faucet.tui.heat_view import HeatView
from faucet.tui.help import help_text
from faucet.tui.items import SOURCES, event_line, log_line, request_line
from faucet.tui.lane_view import LaneView
from faucet.tui.leaving import GONE, LEFT, LOST, STOPPED
from faucet.tui.lines import Line, LineView
from faucet.tui.memory import Layout
from faucet.tui.model import LogItem, Model
from faucet.tui.noticing import Noticing
from faucet.tui.paint import ascii_only
from faucet.tui.painted import PaintedScreen
from faucet.tui.palette import commands_of
from faucet.tui.queue_view import QueueHead
from faucet.tui.queue_view import key_of as queued_key
from faucet.tui.ranking import ENDPOINTS_SECONDS, key_of
from faucet.tui.replay_feed import ReplayFeed
from faucet.tui.screens import TextScreen, WorkerScreen
from faucet.tui.spans import LIMITED
from faucet.tui.table import WorkerTable
from faucet.tui.terminal import in_browser
from faucet.tui.time_line import TimeLine
from faucet.tui.top import HeaderLine, OriginLine, TabLine, Tiles
from faucet.tui.worst import WorstLine

USAGE_SECONDS = 2.0
"""Seconds between two samples of CPU and memory, which cost 0.2 ms per worker."""

BESIDE = 160
"""Terminal width from which the lock lanes are also shown beside the table."""

LOW = 13
"""Terminal height from which there is room for views below the workers."""

IDLE_SECONDS = 1.0
"""Seconds after which the screen is redrawn even without an update, because the ages on it change."""

TABS = ("log", "requests", "queue", "events", "lanes", "endpoints", "heat")

WITHOUT_LINES = ("lanes", "heat")
"""Views that are not lists of lines."""

COVERING = ("queue", "lanes", "endpoints", "heat")
"""Views that get the focus when they are opened, and have no newest line to follow."""

ON_LINES = ("filter", "follow", "wrap", "clear", "copy", "save")
"""Actions that need a list of lines."""


ON_THIS_MACHINE = ("save", "screenshot", "suspend_process")
"""Actions that affect the machine the monitor runs on. Disabled in a browser, which runs on the user's machine."""


class Monitor(Noticing):
    """The monitor. Its `run` returns LEFT, STOPPED, LOST or GONE."""

    CSS_PATH = "monitor.tcss"
    TITLE = "faucet"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"),
        (100, "-wide"),
        (BESIDE, "-beside"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"),
        (8, "-short"),
        (LOW, "-low"),
        (30, "-high"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="filter", key_display="/"),
        Binding("f", "follow", "Follow", id="follow", show=False),
        Binding("o", "only", "Only this worker", id="only", show=False),
        Binding("v", "source", "Kind of lines", id="source", show=False),
        Binding("w", "wrap", "Wrap", id="wrap", show=False),
        Binding("m", "mark", "Mark", id="mark", show=False),
        Binding("c", "clear", "Clear", id="clear", show=False),
        Binding("y", "copy", "Copy line", id="copy", show=False),
        Binding("S", "save", "Save", id="save", show=False),
        Binding("s", "sort", "Sort", id="sort", show=False),
        Binding("I", "invert", "Invert order", id="invert", show=False),
        Binding("space", "pause", "Pause", id="pause", show=False),
        *(Binding(str(n), f"tab('{name}')", name.title(), id=name, show=False) for n, name in enumerate(TABS, 1)),
        Binding("ctrl+c", "leave", "Quit", show=False),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False),
    ]

    def __init__(
        self,
        connect: Connect | None,
        settings: MonitorSettings,
        owner: bool,
        read_only: bool = False,
        layout: Layout | None = None,
        recording: Recording | None = None,
        start: float | None = None,
    ) -> None:
        """Create the monitor. `owner`: the service stops with this monitor, unless the monitor detaches.

        Without a connection it shows a `recording`, from `start` on.
        """
        super().__init__()
        self.settings = settings
        self.owner = owner
        self.read_only = read_only
        self._remembered = layout
        self._start = start
        self.model = Model()
        if connect is None:
            self.feed: Feed = ReplayFeed(self.model, recording or Recording(), settings.refresh)
        else:
            self.feed = Feed(self.model, connect, settings.refresh, reconnect=not owner)
        self.in_browser = in_browser()
        self.plain = ascii_only() and not self.in_browser
        self.paused = False
        self.tab = "log"
        self.only: str | None = None
        self.source = SOURCES[0]
        self.filters = dict.fromkeys(TABS, "")
        self.endpoint_rows = []
        self.history = HistoryRows()
        self._usage: dict[int, Usage] = {}
        self._sampled: dict[int, object] = {}
        self._offered: Sequence[str] = ()
        self._drawn = -1
        self._draw_again = 0.0
        self.animation_level = "none"
        if settings.keys:
            self.set_keymap(settings.keys)

    def get_default_screen(self) -> Screen[Any]:
        """Called by Textual."""
        return PaintedScreen(id="_default")

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        yield HeaderLine("header")
        yield Banner("banner")
        yield TimeLine("moment")
        yield OriginLine("origin")
        yield Tiles("tiles")
        with Horizontal(id="middle"):
            yield WorkerTable(self.settings.slow, self.plain, "workers")
            yield LaneView("beside", self.settings.slow, self.plain, beside=True)
        yield TabLine("tabs")
        yield QueueHead("queue-head")
        with ContentSwitcher(initial="log"):
            plain = self.plain
            yield LineView(self._log_line, "no log lines yet", "log", plain)
            yield LineView(self._request_line, "no requests yet", "requests", plain)
            yield LineView(self.queue_item, "The queue is empty.", "queue", plain, follow=False, key=queued_key)
            yield LineView(lambda item: self.limited(item, event_line(item, plain)), "no events yet", "events", plain)
            yield LaneView("lanes", self.settings.slow, plain)
            yield LineView(self.endpoint_item, "no requests yet", "endpoints", plain, follow=False, key=key_of)
            yield HeatView("heat", plain)
        yield Input(placeholder="filter lines by a regular expression; empty: show all", id="filter", compact=True,
                    select_on_focus=False)  # fmt: skip
        yield WorstLine("worst")
        yield KeyLine()

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one(WorkerTable).focus()
        self.set_class(self.plain, "-plain")
        self.query_one("#filter", Input).display = False
        self.set_interval(1 / self.settings.refresh, self._refresh)
        self.set_interval(USAGE_SECONDS, self.sample_usage)
        self.set_interval(ENDPOINTS_SECONDS, self.fetch_endpoints)
        self.set_interval(HISTORY_SECONDS, self.fetch_history)
        if self.replaying:
            self.call_after_refresh(self.go_to, self.feed.recording.start if self._start is None else self._start)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self.exit, STOPPED if self.owner else LEFT)
        if self._remembered is not None:
            self.restore(self._remembered)
        self._feed()

    def terminal_is_gone(self) -> None:
        """End the monitor after a hang-up of its terminal. Thread-safe."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self.exit, GONE)

    @work(exclusive=True, group="feed")
    async def _feed(self) -> None:
        try:
            await self.feed.run()
        except NoRuntime as error:
            self.exit(LOST, message=None if self.owner else str(error))
        else:
            self.exit(STOPPED if self.stopping else LOST)

    # -- drawing -----------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self.play()
        if self.paused or self.replaying or not self.screen_stack or not self.behind.query(HeaderLine):
            return  # the app is closing: its timers are stopped after its screens
        model = self.model
        clock_runs = bool(model.queue) or any(row.locked for row in model.workers.values())
        if model.version == self._drawn and not clock_runs and not model.link and monotonic() < self._draw_again:
            return
        self._drawn, self._draw_again = model.version, monotonic() + IDLE_SECONDS
        with self.batch_update():
            self.draw()

    def draw_now(self) -> None:
        """Draw even if nothing has changed. If paused without going back in time, keep the frozen screen."""
        if self.paused and self.player is None:
            self.draw_hints()
        elif self.screen_stack and self.behind.query(HeaderLine):
            with self.batch_update():
                self.draw()

    def draw(self) -> None:
        """Draw everything."""
        model = self.model
        model.settle()
        now = model.now()
        remark = "recording" if self.replaying else "read only" if self.read_only else ""
        self.behind.query_one(HeaderLine).show_model(
            model, "paused, press space to resume" if self.paused else remark, self.plain
        )
        self.draw_banner()
        self.draw_past()
        self.behind.query_one(OriginLine).show_service(model.service, now, self.plain)
        self.behind.query_one(Tiles).show_model(model, self.plain)
        cells = [
            Cell(row, now, self._usage.get(row.pid) if self.player is None else None, self.plain) for row in model.rows
        ]
        self.behind.query_one(WorkerTable).show_kind(model.service.kind if model.service is not None else "local")
        offered = model.service.actions if model.service is not None else ()
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()  # the footer was drawn before the available actions were known
        self.behind.query_one(WorkerTable).show(cells)
        self.behind.query_one("#log", LineView).feed(model.log, model.counts["log"])
        self.behind.query_one("#requests", LineView).feed(model.requests, model.counts["requests"])
        self.behind.query_one("#events", LineView).feed(model.events, model.counts["events"])
        self.draw_queue()
        if self.size.height < LOW:
            self.behind.query_one(WorstLine).show_model(model, self.settings.slow, self.plain)
        self._draw_lanes()
        self.draw_heat()
        self.fit_endpoints()
        self.draw_hints()

    def _draw_lanes(self) -> None:
        """Draw the visible lock lanes."""
        table = self.behind.query_one(WorkerTable)
        names = [cell.row.name for cell in table.cells]
        beside = self.behind.query_one("#beside", LaneView)
        if self.size.width >= BESIDE:
            beside.styles.height = max(table.virtual_size.height, 2)
            beside.show(names, self.model.holds, self.model.now(), table.scroll_offset.y)
        if self.tab == "lanes":
            in_order = sorted(table.cells, key=COLUMNS[0].order)
            lanes = self.behind.query_one("#lanes", LaneView)
            lanes.show([cell.row.name for cell in in_order], self.model.holds, self.model.now())

    def draw_hints(self) -> None:
        """Draw the line with the names of the views, and the hints."""
        waiting = self.model.totals.waiting if self.model.totals else 0
        log = "Log" if self.only is None else f"Log of worker {self.only}"
        labels = {"log": log, "requests": "Requests", "queue": f"Queue {waiting}",
                  "events": f"Events {len(self.model.events)}", "lanes": "Lanes",
                  "endpoints": "Endpoints", "heat": "Heat"}  # fmt: skip
        view = self.view
        hints = [f"/{self.filters[self.tab]}/ {view.count} lines" if self.filters[self.tab] else ""]
        hints.append(f"{self.source} only" if self.tab == "log" and self.source != SOURCES[0] else "")
        hints.append(self.span_hint if self.tab in LIMITED else "")
        hints.append(self.endpoints_hint if self.tab == "endpoints" else "")
        hints.append("" if view.following or self.tab in COVERING else "not following (f)")
        hint = "  ".join(text for text in hints if text)
        tabs, bracketed = [(name, labels[name]) for name in TABS], self.plain or self.no_color
        self.behind.query_one(TabLine).show_tabs(tabs, self.tab, hint, bracketed)

    def _log_line(self, item: LogItem) -> Line | None:
        return self.limited(item, log_line(item, self.only, self.source))

    def _request_line(self, item: RequestRow) -> Line | None:
        return self.limited(item, request_line(item))

    @property
    def view(self) -> LineView:
        """The line view of the active tab; the log if the tab has none."""
        return self.behind.query_one("#log" if self.tab in WITHOUT_LINES else f"#{self.tab}", LineView)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Called by Textual: whether an action is available."""
        if action in ON_THIS_MACHINE and self.in_browser:
            return False
        return super().check_action(action, parameters) and (action not in ON_LINES or self.tab not in WITHOUT_LINES)

    def sample_usage(self) -> None:
        """Sample CPU and memory of the workers, if they are on this machine."""
        service = self.model.service
        if service is None or service.mode != "local" or self.paused or self.replaying:
            return
        pids = {row.pid: row for row in self.model.rows if row.pid}
        self._usage = sample_usage(pids, self._sampled, shared=service.kind == "preload")

    def _usage_text(self, pid: int) -> str:
        usage = self._usage.get(pid)
        return f", {usage.text}" if usage else ""

    # -- views -------------------------------------------------------------------------------------------------

    @on(WorkerTable.Picked)
    def _show_selected(self) -> None:
        name = self._selected()
        if name is not None:
            self.show_worker(name)

    @work(group="details", exclusive=True)
    async def open_worker(self, name: str) -> None:
        """Show the details of a worker, until the screen is closed."""
        actions = [(action, title) for action, title in ON_A_WORKER if self.check_action(action, ())]
        screen = WorkerScreen(
            name, partial(self.feed.ask, "details", worker=name), actions, self._usage_text, self.plain
        )
        answer = await self.push_screen_wait(screen)
        if answer in COMMANDS:
            getattr(self, f"action_{answer}")()

    @on(TabLine.Chosen)
    def _tab_chosen(self, event: TabLine.Chosen) -> None:
        self.action_tab(event.name)

    def action_tab(self, name: str) -> None:
        """Show the log, the requests, the queue, the events, the lock lanes or the endpoints."""
        focus_lines = isinstance(self.focused, LineView | LaneView | HeatView) or name in COVERING
        self.tab = name
        self.query_one(ContentSwitcher).current = name
        self.screen.set_class(name != TABS[0], "-covering")
        self.refresh_bindings()
        if focus_lines:
            self.set_focus(self.query_one(f"#{name}"))  # immediately, before a next key that moves it elsewhere
        self.fetch_endpoints()
        self.fetch_history()
        self.draw_now()

    def action_filter(self) -> None:
        """Show only the lines that match a regular expression."""
        field = self.query_one("#filter", Input)
        field.value = self.filters[self.tab]
        field.display = True
        self.set_focus(field)  # immediately, so that the next keys go to the field

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        """Apply a changed filter. If the user types fast, this event may follow the Enter that closes the filter."""
        if event.value != self.filters[self.tab]:
            self.filters[self.tab] = event.value
            self.view.filter(event.value)
            self.draw_hints()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.set_focus(self.view)
        self.query_one("#filter", Input).display = False

    def on_key(self, event: events.Key) -> None:
        """Called by Textual: Escape closes and clears the filter. Keys typed fast after `/` go to the filter, too."""
        field = self.query_one("#filter", Input)
        if len(self.screen_stack) > 1:
            return
        if event.key == "escape" and (field.display or self.filters[self.tab]):
            field.value = self.filters[self.tab] = ""
            self.view.filter("")
            self._filter_done()
            self.draw_now()
            event.stop()
        elif event.key == "escape" and self.span_hint:
            self.limit(None, None)
            self.draw_now()
            event.stop()
        elif self.focused is field and event.is_printable and event.character:
            # The key was sent to the widget that had the focus before.
            field.insert_text_at_cursor(event.character)

    def action_only(self) -> None:
        """Show the log of the selected worker only, or of all."""
        self.only = None if self.only is not None else self._selected()
        self.query_one("#log", LineView).refill()
        self.action_tab("log")

    def action_source(self) -> None:
        """Show the next kind of lines in the log: everything, output, requests, trouble."""
        self.source = SOURCES[(SOURCES.index(self.source) + 1) % len(SOURCES)]
        self.query_one("#log", LineView).refill()
        self.action_tab("log")
        self.notify(f"the log shows {self.source}")

    def action_follow(self) -> None:
        """Follow the newest line, or stay at the current one."""
        self.view.action_follow(not self.view.following)
        self.draw_hints()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.notify("long lines are wrapped" if self.view.wrap() else "long lines are cut; ← and → scroll")

    def action_mark(self) -> None:
        """Insert a mark with the time after the newest line; on lock lanes and heat maps, begin or end a span."""
        if isinstance(self.focused, LaneView | HeatView):
            if not self.focused.mark():
                self.notify("select a request or a time first, with the arrow keys", severity="warning", timeout=3)
            return
        dashes = "----" if self.plain else "────"
        self.view.mark(Line([(f"{dashes} {strftime('%H:%M:%S')} {dashes}", "warning")]))

    def action_clear(self) -> None:
        """Clear the view: show only lines that come from now on."""
        self.view.clear()

    def action_save(self) -> None:
        """Save all lines of this view to a file in the current directory."""
        path = Path.cwd() / f"faucet-{self.tab}-{strftime('%Y%m%d-%H%M%S')}.txt"
        try:
            path.write_text("\n".join(self.view.texts) + "\n")
        except OSError as error:
            self.notify(f"cannot save to {path}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"saved to {path}", markup=False)

    def action_sort(self) -> None:
        """Sort the workers, or the endpoints if they are shown, by the next column."""
        title = self.sort_endpoints() if self.tab == "endpoints" else self.query_one(WorkerTable).sort_by_next()
        self.notify(f"sorted by {title}", timeout=2)

    def action_invert(self) -> None:
        """Invert the order of the workers, or of the endpoints if they are shown."""
        if self.tab == "endpoints":
            self.endpoint_order = self.endpoint_order.invert()
            self.draw_endpoints()
        else:
            table = self.query_one(WorkerTable)
            table.sort_by(table.order.invert())

    def action_help(self) -> None:
        """Show all keys."""
        self.push_screen(TextScreen("Help", help_text(self.plain)))

    def action_screenshot(self, filename: str | None = None, path: str | None = None) -> None:
        """Save the screen as an SVG image."""
        name = f"faucet-{strftime('%Y%m%d-%H%M%S')}.svg"
        try:
            where = self.save_screenshot(name, str(Path.cwd()))
        except OSError as error:
            self.notify(f"cannot save {name} here: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"saved to {where}", markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Any:
        """Called by Textual: the commands of the palette."""
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        if not self.in_browser:
            yield SystemCommand("Screenshot", "Save the screen as an SVG image", self.action_screenshot)
        yield from commands_of(self)
