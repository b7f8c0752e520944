"""Leaving the monitor: it detaches from the service or stops the service, after a question."""

from __future__ import annotations

from textual import work

from faucet.control.client import NoRuntime, Refusal
from faucet.status.snapshot import Service, Totals
from faucet.tui.question import Answer, Question
from faucet.tui.travel import Travelling
from faucet.units import counted

LEFT, STOPPED, LOST, GONE = "left", "stopped", "lost", "gone"
"""How the monitor ends: the service keeps running, was asked to stop, the connection is lost, the terminal is gone."""


def leave_question(service: Service | None, totals: Totals | None, owner: bool) -> Question:
    """Return the question how to leave, with the consequences of each answer."""
    locked, waiting = (totals.locked, totals.waiting) if totals is not None else (0, 0)
    busy = f"{locked} in progress, {waiting} queued." if locked or waiting else "No request is in progress."
    refused = f"{waiting} queued get 503" if waiting else ""
    ended = f"{counted(locked, 'request')} {'fails' if locked == 1 else 'fail'}" if locked else ""
    now = Answer("now", "x", "Stop now", ", ".join(filter(None, (ended, refused))))
    if service is not None and service.state == "draining":
        answers = [Answer("cancel", "n", "Wait for it"), now, Answer("leave", "l", "Leave; it stops by itself")]
        return Question("The service is stopping", busy, answers)
    again = f"faucet attach {service.port} opens it again" if service is not None else ""
    finished = f"{counted(locked, 'request')} may finish" if locked else ""
    return Question("Leave", busy, [
        Answer("detach", "d", "Detach, keep serving" if owner else "Leave, keep serving", again),
        Answer("stop", "s", "Stop, drain first", ", ".join(filter(None, (finished, refused)))),
        now,
        Answer("cancel", "n", "Stay"),
    ])  # fmt: skip


class Leaving(Travelling):
    """The part of the monitor for leaving it."""

    owner: bool
    stopping = False
    """Whether the service was asked to stop."""

    @work(group="questions", exclusive=True)
    async def action_leave(self) -> None:
        """Leave: detach, or stop the service."""
        alone = self.feed.client is None
        if self.read_only or alone or (not self.owner and not self.settings.confirm):
            self.exit(LEFT)
            return
        answer = await self.push_screen_wait(leave_question(self.model.service, self.model.totals, self.owner))
        if answer == "leave":
            self.exit(STOPPED if self.owner else LEFT)
        elif answer == "detach":
            await self._hand_over()
        elif answer in ("stop", "now"):
            self.stopping = await self._ask("stop", now=answer == "now")
            self.feed.reconnect = self.feed.reconnect and not self.stopping

    async def _hand_over(self) -> None:
        if not self.owner:
            self.exit(LEFT)
            return
        try:
            await self.feed.ask("detach")
        except (Refusal, NoRuntime) as error:
            self.notify(str(error), severity="error", markup=False)
        else:
            self.exit(LEFT)
