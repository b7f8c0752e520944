"""Screens in front of the main screen: texts, and the details of a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from faucet.control.client import NoRuntime, Refusal
from faucet.proxy.stats import Histogram
from faucet.status.columns import format_age
from faucet.status.format import clock
from faucet.status.quantiles import quantile_of
from faucet.status.snapshot import RequestRow, WorkerRow
from faucet.text import visible
from faucet.tui.items import request_line
from faucet.tui.paint import sparkline
from faucet.units import counted, format_duration

Fetch = Callable[[], Awaitable[dict[str, Any]]]


class TextScreen(ModalScreen[str]):
    """A screen with a text that can be scrolled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Close"),
        Binding("ctrl+c", "app.leave", "Quit", show=False),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="wide") as box:
            box.border_title = self._title
            with VerticalScroll():
                yield Static(self._text, markup=False)

    def action_close(self) -> None:
        """Go back to the main screen."""
        self.dismiss("close")


class WorkerScreen(ModalScreen[str]):
    """All details of one worker, updated every second."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave('close')", "Close"),
        Binding("r", "leave('restart')", "Restart"),
        Binding("h", "leave('hold')", "Hold"),
        Binding("K", "leave('kill')", "Kill"),
        Binding("d", "leave('drop')", "Drop"),
        Binding("ctrl+c", "app.leave", "Quit", show=False),
    ]

    def __init__(
        self, name: str, fetch: Fetch, actions: list[tuple[str, str]], usage: Callable[[int], str], plain: bool
    ) -> None:
        super().__init__()
        self._plain = plain
        self._name_of_worker = name
        self._fetch = fetch
        self._actions = actions
        self._usage = usage

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        with Vertical(classes="wide") as box:
            box.border_title = f"Worker {self._name_of_worker}"
            with VerticalScroll():
                yield Static("loading …", id="text", markup=False)
            with Horizontal():
                for name, label in [*self._actions, ("close", "Close")]:
                    yield Button(label, id=name, compact=True)

    def on_mount(self) -> None:
        """Called by Textual."""
        self.query_one("#close", Button).focus()
        self.set_interval(1.0, self._update)
        self.call_later(self._update)

    async def _update(self) -> None:
        try:
            text = worker_details(await self._fetch(), self._usage, self.size.width - 8, self._plain)
        except (NoRuntime, Refusal) as error:
            text = str(error)
        self.query_one("#text", Static).update(text)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Called by Textual."""
        self.dismiss(event.button.id or "close")

    def action_leave(self, answer: str) -> None:
        """Go back to the main screen; `answer` is the action to run there."""
        allowed = {name for name, _ in self._actions} | {"close"}
        if answer in allowed:
            self.dismiss(answer)


def worker_details(details: dict[str, Any], usage: Callable[[int], str], width: int, plain: bool) -> str:
    """Return the details of one worker as text."""
    row, now = WorkerRow(**details["row"]), details["now"]
    lock = f"held {format_age(now - row.locked)} by {row.request} from {row.client}" if row.locked else "free"
    since = f", in service since {clock(row.since)}" if details["took"] and row.since else ""
    reason = f": {visible(row.reason)}" if row.reason else ""
    requests = [request_line(RequestRow(**request)).text for request in details["requests"]]
    exits = [f"{clock(when)}  {text}" for when, text in details["exits"]] if "exits" in details else None
    lines = [
        f"state        {row.state}{since}{reason}",
        f"lock         {visible(lock)}",
        *(
            [f"process      pid {row.pid or '-'}, port {row.port or '-'}{usage(row.pid)}"]
            if "command" in details
            else ()
        ),
        f"requests     {row.requests}, {counted(row.errors, 'error')}, {row.rps:.1f} per second",
        f"restarts     {row.restarts}",
        *(f"{name:<12} {visible(value)}" for name, value in details.get("facts", ())),
        *(_command(details) if "command" in details else ()),
        "",
        *_latencies(details["durations"], width, plain),
        *_section("Latest exits of its processes:", exits, "none yet"),
        *_section("Latest requests:", requests, "none yet"),
        *_section("Last lines of output:", details.get("last_lines"), "none"),
    ]
    return "\n".join(lines)


def _command(details: dict[str, Any]) -> list[str]:
    """Return the command, environment and directory of a process on this machine, as lines."""
    environment = ", ".join(f"{name}={visible(value)}" for name, value in details["environment"].items())
    return [
        f"command      {visible(' '.join(details['command']))}",
        f"directory    {visible(details['directory'])}",
        f"environment  {environment}",
    ]


def _section(title: str, lines: list[str] | None, nothing: str) -> list[str]:
    """Return a titled list as lines, with `nothing` for an empty list; no lines if `lines` is None."""
    if lines is None:
        return []
    return ["", title, *([f"  {visible(text)}" for text in lines] or [f"  {nothing}"])]


def _latencies(durations: list[float], width: int, plain: bool) -> list[str]:
    """Return the distribution of the latest service times as bars, from the fastest to the slowest bucket."""
    if not durations:
        return ["No requests yet."]
    ordered = sorted(durations)
    histogram = Histogram()
    histogram.add(ordered)
    used = [index for index, count in enumerate(histogram.counts) if count]
    bars = sparkline(histogram.counts[used[0] : used[-1] + 1], max(width - 20, 10), plain)
    quantiles = f"p50 {format_duration(quantile_of(ordered, 0.5))}, p95 {format_duration(quantile_of(ordered, 0.95))}"
    return [
        f"The latest {len(durations)} service times, {quantiles}:",
        f"  {format_duration(ordered[0])} {bars} {format_duration(ordered[-1])}",
    ]
