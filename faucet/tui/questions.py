"""The questions before a change of the service: what will happen, to which requests, and the safe answer first."""

from __future__ import annotations

from collections.abc import Sequence

from faucet.status.columns import format_age
from faucet.status.queue import Prospect
from faucet.status.snapshot import WorkerRow
from faucet.text import visible
from faucet.tui.question import Answer, Question
from faucet.units import counted

YES = "yes"
"""The name of the answer that agrees."""

IN_SERVICE = ("ready", "busy")
"""States in which a worker gets requests."""


def _agree(title: str, text: str, label: str) -> Question:
    return Question(title, text, [Answer("cancel", "n", "No"), Answer(YES, "y", label)])


def restart_question(row: WorkerRow) -> Question | None:
    """Return the question whether to restart a worker; None if it serves nothing, so that nothing is interrupted."""
    if row.state not in IN_SERVICE:
        return None
    busy = f" Its request {visible(row.request)} is finished first." if row.locked and not row.left else ""
    text = f"Its replacement is ready before the old process ends.{busy}"
    return _agree(f"Restart worker {row.name} (pid {row.pid})?", text, "Restart it")


def delete_question(name: str) -> Question:
    """Return the question whether to delete a pod."""
    return _agree(f"Delete pod {name}?", "By kubectl delete pod. Its controller starts another one.", "Delete it")


def roll_question(workers: int) -> Question:
    """Return the question whether to restart all workers."""
    text = "One after the other; each replacement is ready before the old process ends, and no request fails."
    return _agree(f"Restart {'the worker' if workers == 1 else f'all {workers} workers'}?", text, "Restart them")


def remove_question(workers: int) -> Question:
    """Return the question whether to remove one of so many workers."""
    text = f"{counted(workers, 'worker')} become {workers - 1}. The one that ends finishes its request first."
    return _agree("Remove a worker?", text, "Remove it")


def hold_question(row: WorkerRow, rows: Sequence[WorkerRow]) -> Question | None:
    """Return the question whether to hold a worker; None if others serve meanwhile: the same key resumes it."""
    if row.state not in IN_SERVICE or any(other.state in IN_SERVICE and other.key != row.key for other in rows):
        return None
    text = "No other is in service: requests are queued until it is resumed, and get 503 if that takes too long."
    return _agree(f"Hold worker {row.name}?", text, "Hold it")


def drop_question(row: WorkerRow, now: float) -> Question:
    """Return the question whether to cut the connection to a pod."""
    text = "It is idle."
    if row.locked:
        request = f"{visible(row.request)}, {format_age(now - row.locked)} so far,"
        text = f"{request} is sent to another pod if that is safe, else it fails with 502."
    return _agree(f"Drop the connection to pod {row.name}?", text, "Drop it")


def cancel_question(row: Prospect) -> Question:
    """Return the question whether to end the waiting of a request."""
    who = f"{visible(row.row.request)} from {visible(row.row.client)}"
    text = f"{who} has waited {format_age(row.waited)}. No worker has started on it. Its client gets 503."
    return _agree("End this request?", text, "End it")


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
