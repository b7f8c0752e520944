"""The monitor's actions on workers: keys become commands to the runtime, some after a confirmation."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from faucet.control.client import NoRuntime, Refusal
from faucet.settings import MonitorSettings
from faucet.status.columns import format_age
from faucet.status.snapshot import WorkerRow
from faucet.text import visible
from faucet.tui.feed import Feed
from faucet.tui.model import Model
from faucet.tui.question import Answer, Question
from faucet.tui.table import WorkerTable

COMMANDS = {
    "restart": "restart", "roll": "rolling-restart", "scale": "scale", "hold": "hold", "kill": "kill", "drop": "drop",
    "retry": "retry",
}  # fmt: skip
"""Actions that change the service, and the commands that they send. Disabled with --read-only."""

ON_A_WORKER = [("restart", "Restart"), ("hold", "Hold or resume"), ("kill", "Kill"), ("drop", "Drop connection")]
"""Actions that are offered beside the details of a worker, and their titles."""


class Acting(App[str]):
    """The part of the monitor with the actions on workers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # These two come first, because a narrow footer cuts the end. `ctrl+q` is a separate binding: the footer shows a
        # binding while any of its keys works, and `q` does not work while the user types a filter.
        Binding("question_mark,f1", "help", "Help", id="help", key_display="?"),
        Binding("q", "leave", "Quit", id="quit"),
        Binding("ctrl+q", "leave", "Quit", show=False),
        Binding("r", "restart", "Restart", id="restart"),
        Binding("R", "roll", "Rolling", id="rolling-restart"),
        Binding("plus,equals_sign", "scale(1)", "+1", id="scale-up", key_display="+"),
        Binding("minus", "scale(-1)", "-1", id="scale-down", key_display="-"),
        Binding("h", "hold", "Hold", id="hold"),
        Binding("K", "kill", "Kill", id="kill"),
        Binding("d", "drop", "Drop", id="drop"),
        Binding("t", "retry", "Retry", id="retry"),
    ]

    settings: MonitorSettings
    feed: Feed
    model: Model
    read_only: bool

    @property
    def behind(self) -> Screen[Any]:
        """The main screen, also while another screen is open in front of it."""
        return self.screen_stack[0]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Called by Textual: whether an action is available."""
        if action not in COMMANDS:
            return True
        service = self.model.service
        return not self.read_only and service is not None and COMMANDS[action] in service.actions

    def _act(self, do: str, **arguments: Any) -> None:
        self.run_worker(self._ask(do, **arguments), group="actions", exit_on_error=False)

    async def _ask(self, do: str, **arguments: Any) -> bool:
        try:
            answer = await self.feed.ask(do, who="the monitor", **arguments)
        except (Refusal, NoRuntime) as error:
            self.notify(str(error), severity="error", markup=False)
            return False
        if isinstance(answer, str):
            self.notify(answer, markup=False, timeout=4)
        return True

    def _selected(self) -> str | None:
        cell = self.behind.query_one(WorkerTable).selected
        return cell.row.name if cell is not None else None

    def _act_on_selected(self, do: str) -> None:
        name = self._selected()
        if name is not None:
            self._act(do, worker=name)

    @property
    def mode(self) -> str:
        """The kind of workers: `local` or `k8s`."""
        return self.model.service.mode if self.model.service is not None else "local"

    @work(group="questions")
    async def action_restart(self) -> None:
        """Restart the selected worker: its replacement is ready before it ends. A pod is deleted, after a question."""
        name = self._selected()
        if name is None:
            return
        if self.mode != "local" and self.settings.confirm:
            question = Question(
                f"Delete pod {name}?", "By kubectl delete pod. Its controller starts another one.",
                [Answer("cancel", "n", "No"), Answer("delete", "y", "Delete it")],
            )  # fmt: skip
            if await self.push_screen_wait(question) != "delete":
                return
        self._act("restart", worker=name)

    def action_drop(self) -> None:
        """Cut the connection to the selected pod."""
        self._act_on_selected("drop")

    def action_retry(self) -> None:
        """Retry the selected pod now, if it was unreachable."""
        self._act_on_selected("retry")

    def action_roll(self) -> None:
        """Restart all workers, one after the other."""
        self._act("rolling-restart")

    def action_scale(self, by: int) -> None:
        """Add a worker, or remove one."""
        self._act("scale", count=f"{by:+d}")

    def action_hold(self) -> None:
        """Hold the selected worker (it gets no more requests), or resume it."""
        name = self._selected()
        held = any(row.name == name and row.state == "held" for row in self.model.rows)
        self._act_on_selected("resume" if held else "hold")

    @work(group="questions")
    async def action_kill(self) -> None:
        """Kill the selected worker now (SIGKILL); the request it is serving fails."""
        cell = self.behind.query_one(WorkerTable).selected
        if cell is None:
            return
        name = cell.row.name
        answer = "kill"
        if self.settings.confirm:
            answer = await self.push_screen_wait(kill_question(cell.row, await self._time_to_start(name), cell.now))
        if answer in ("kill", "restart"):
            self._act(answer, worker=name)

    async def _time_to_start(self, name: str) -> float:
        """Return the seconds that this worker took to start; 0 if it is not known."""
        try:
            return float((await self.feed.ask("details", worker=name))["took"] or 0.0)
        except (Refusal, NoRuntime, KeyError, TypeError):
            return 0.0


def kill_question(row: WorkerRow, start_time: float, now: float) -> Question:
    """Return the question whether to kill a worker, with the consequences."""
    replaced = f"Another takes its place in about {format_age(start_time)}." if start_time else ""
    if not row.locked:
        answers = [Answer("cancel", "n", "No"), Answer("kill", "y", "Kill it")]
        return Question(f"Kill worker {row.name} (pid {row.pid})?", f"It is idle. {replaced}".strip(), answers)
    held = format_age(now - row.locked)
    lost = f"{visible(row.request)} from {visible(row.client)}, {held} so far, will fail with 502."
    if row.left:
        lost = f"The client of {visible(row.request)} ({held} so far) has left, so nothing is lost."
    return Question(f"Kill worker {row.name} (pid {row.pid})?", f"{lost} {replaced}".strip(), [
        Answer("cancel", "n", "No"),
        Answer("kill", "y", "Kill it now"),
        Answer("restart", "r", "Restart it", "when this request is finished"),
    ])  # fmt: skip
