"""The monitor's actions on workers: keys become commands to the runtime, some after a confirmation."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from faucet.control.client import NoRuntime, Refusal
from faucet.settings import MonitorSettings
from faucet.status.snapshot import WorkerRow
from faucet.tui.feed import Feed
from faucet.tui.model import Model
from faucet.tui.question import Question
from faucet.tui.questions import (
    YES,
    delete_question,
    drop_question,
    hold_question,
    kill_question,
    remove_question,
    restart_question,
    roll_question,
)
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
    asking = False
    """Whether a question about a change of the service is open."""

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

    def _begin(self, conversation: Coroutine[Any, Any, None]) -> None:
        """Hold a conversation that may end in a change of the service, unless one is going on.

        Keys that were typed or pasted together, by mistake, open one question at most, and change nothing else.
        """
        if self.asking:
            conversation.close()
            return
        self.asking = True
        self.run_worker(self._hold(conversation), group="changes")

    async def _hold(self, conversation: Coroutine[Any, Any, None]) -> None:
        try:
            await conversation
        finally:
            self.asking = False

    async def _agreed(self, question: Question | None) -> bool:
        """Return whether the user agrees; without a question, or with --no-confirm, nobody is asked."""
        if question is None or not self.settings.confirm:
            return True
        return await self.push_screen_wait(question) == YES

    async def _act_if(self, question: Question | None, do: str, **arguments: Any) -> None:
        if await self._agreed(question):
            self._act(do, **arguments)

    @property
    def _row(self) -> WorkerRow | None:
        """The selected worker."""
        cell = self.behind.query_one(WorkerTable).selected
        return cell.row if cell is not None else None

    @property
    def mode(self) -> str:
        """How workers come to be: `local` or `k8s`."""
        return self.model.service.mode if self.model.service is not None else "local"

    def _selected(self) -> str | None:
        return self._row.name if self._row is not None else None

    @property
    def _worker_count(self) -> int:
        return self.model.totals.workers if self.model.totals is not None else 0

    def action_restart(self) -> None:
        """Restart the selected worker: its replacement is ready before it ends. A pod is deleted."""
        row = self._row
        if row is not None:
            question = restart_question(row) if self.mode == "local" else delete_question(row.name)
            self._begin(self._act_if(question, "restart", worker=row.name))

    def action_drop(self) -> None:
        """Cut the connection to the selected pod."""
        row = self._row
        if row is not None:
            self._begin(self._act_if(drop_question(row, self.model.now()), "drop", worker=row.name))

    def action_retry(self) -> None:
        """Retry the selected pod now, if it was unreachable."""
        row = self._row
        if row is not None and not self.asking:
            self._act("retry", worker=row.name)

    def action_roll(self) -> None:
        """Restart all workers, one after the other."""
        self._begin(self._act_if(roll_question(self._worker_count), "rolling-restart"))

    def action_scale(self, by: int) -> None:
        """Add a worker, or remove one."""
        if by < 0:
            self._begin(self._act_if(remove_question(self._worker_count), "scale", count=f"{by:+d}"))
        elif not self.asking:
            self._act("scale", count=f"{by:+d}")

    def action_hold(self) -> None:
        """Hold the selected worker (it gets no more requests), or resume it."""
        row = self._row
        if row is None:
            return
        held = any(other.name == row.name and other.state == "held" for other in self.model.rows)
        question = None if held else hold_question(row, self.model.rows)
        self._begin(self._act_if(question, "resume" if held else "hold", worker=row.name))

    def action_kill(self) -> None:
        """Kill the selected worker now (SIGKILL); the request it is serving fails."""
        row = self._row
        if row is not None:
            self._begin(self._kill(row))

    async def _kill(self, row: WorkerRow) -> None:
        answer = "kill"
        if self.settings.confirm:
            started_in = await self._time_to_start(row.name)
            answer = await self.push_screen_wait(kill_question(row, started_in, self.model.now()))
        if answer in ("kill", "restart"):
            self._act(answer, worker=row.name)

    async def _time_to_start(self, name: str) -> float:
        """Return the seconds that this worker took to start; 0 if it is not known."""
        try:
            return float((await self.feed.ask("details", worker=name))["took"] or 0.0)
        except (Refusal, NoRuntime, KeyError, TypeError):
            return 0.0
