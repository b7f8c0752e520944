"""The commands of the control socket. Each returns data, or a sentence that says what happens next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from math import inf
from time import time
from typing import Any

from faucet.control.protocol import Message
from faucet.fleet import Command, Refused
from faucet.log.recent import newest
from faucet.status.collect import Runtime, log_row, now, request_row
from faucet.status.group import as_mapping
from faucet.status.history import LONGEST, STEP
from faucet.status.limits import limit_rows
from faucet.status.moments import WINDOW

_log = logging.getLogger("faucet")

ROWS_LIMIT = 500
"""Most rows in one answer. They take about 3 ms to build."""

HISTORY_ROWS = 60
"""Most rows of the history in one answer. They take about 2 ms to build."""

NO_OTHERS = "this is the only Faucet of the service (no --ha): leave --active out"

FOR_ALL = ("scale", "rolling-restart")
"""Actions for all workers instead of one."""


class Commands:
    """Runs the commands for one runtime: the commands that every runtime has, and the actions of its fleet."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[str, Callable[[Message], Any]] = {
            "status": self._status,
            "summary": self._summary,
            "requests": self._requests,
            "endpoints": self._endpoints,
            "history": self._history,
            "logs": self._logs,
            "health": self._health,
            "details": self._details,
            "cancel": self._cancel,
            "stop": self._stop,
        }

    def run(self, message: Message) -> Any:
        """Run the command in `message["do"]`. Return a sentence, data, or a future of either. Raises Refused."""
        if message.get("active") is True:
            if self._runtime.ask_active is None:
                raise Refused(NO_OTHERS)
            return self._runtime.ask_active({key: value for key, value in message.items() if key != "id"})
        name = message.get("do")
        if isinstance(name, str) and (command := self._known.get(name)):
            return command(message)
        fleet = self._runtime.fleet
        if isinstance(name, str) and name in {*fleet.actions, *fleet.not_offered}:
            given = self._given(name, message)
            if action := fleet.actions.get(name):
                return action(given)
            raise Refused(fleet.not_offered[name].format(**asdict(given)))
        names = ", ".join(sorted({*self._known, *fleet.actions}))
        raise Refused(f"unknown command {str(name)[:40]!r}; expected watch, {names}")

    # -- queries -----------------------------------------------------------------------------------------------

    def _status(self, message: Message) -> Any:
        snapshot = self._runtime.snapshot(window_of(message))
        named: dict[str, Any] = {
            name: [row._asdict() for row in section] if isinstance(section, list) else section._asdict()
            for name, section in snapshot.items()
        }
        service = {**named["service"], "group": as_mapping(snapshot["service"].group)}
        return {**named, "service": service, "now": now()}

    def _summary(self, message: Message) -> Any:
        runtime = self._runtime
        totals = runtime.totals(runtime.window(window_of(message)))
        return {"service": runtime.service()._asdict(), "totals": totals._asdict(), "now": now()}

    def _requests(self, message: Message) -> Any:
        stats = self._runtime.proxy.stats
        records, _ = newest(stats.recent, stats.exchanges, 0, _number(message, "last", 50, ROWS_LIMIT))
        return [request_row(record)._asdict() for record in records]

    def _endpoints(self, message: Message) -> Any:
        endpoints = self._runtime.endpoints
        endpoints.follow(self._runtime.proxy.stats)
        rows, seconds = endpoints.rows(time(), window_of(message, LONGEST), self._runtime.running())
        limits = limit_rows(self._runtime.proxy.pool)
        return {
            "endpoints": [row._asdict() for row in rows],
            "seconds": round(seconds),
            "uncounted": endpoints.uncounted,
            "limits": [row._asdict() for row in limits],
            "now": now(),
        }

    def _history(self, message: Message) -> Any:
        """Return at most HISTORY_ROWS rows that end after `since`: one per slice or, if `by` is 60, per minute."""
        step = 60 if message.get("by") == 60 else STEP
        history = self._runtime.history
        history.follow(self._runtime.proxy.stats, now())
        return {"by": step, "rows": history.rows(step, _moment(message, "since", 0.0), HISTORY_ROWS)}

    def _logs(self, message: Message) -> Any:
        recent_log = self._runtime.recent_log
        worker = message.get("worker")
        since, until = _moment(message, "since", -inf), _moment(message, "until", inf)
        entries = [entry for entry in recent_log.entries
                   if worker in (None, entry.worker) and since <= entry.when <= until]  # fmt: skip
        return [log_row(entry)._asdict() for entry in entries[-_number(message, "last", 50, ROWS_LIMIT) :]]

    def _health(self, _: Message) -> Any:
        return {
            "good": self._runtime.readiness()[0],
            "state": self._runtime.service().state,
            "ready": self._runtime.ready(),
            "workers": self._runtime.fleet.count,
            "waiting": self._runtime.proxy.pool.dispatcher.waiting,
            "asleep": self._runtime.proxy.pool.asleep,
        }

    def _details(self, message: Message) -> Any:
        worker = _worker(message)
        records = [record for record in self._runtime.proxy.stats.recent if record.worker == worker]
        latest = [request_row(record)._asdict() for record in records[-20:]]
        details = self._runtime.details(worker)
        return {**details, "row": details["row"]._asdict(), "requests": latest, "now": now()}

    # -- actions -----------------------------------------------------------------------------------------------

    def _given(self, name: str, message: Message) -> Command:
        return Command(
            who=_who(message),
            worker="" if name in (*FOR_ALL, "handover") else _worker(message),
            count=self._count(message) if name == "scale" else 0,
            wait=message.get("wait") is True,
        )

    def _count(self, message: Message) -> int:
        wanted = message.get("count")
        if isinstance(wanted, str) and wanted[:1] in ("+", "-") and wanted[1:].isdecimal() and len(wanted) < 9:
            return self._runtime.fleet.count + int(wanted)
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            return wanted
        raise Refused('invalid `count`: expected a number, or a change such as "+1" or "-1"')

    def _cancel(self, message: Message) -> Any:
        number = message.get("request")
        if not isinstance(number, int) or isinstance(number, bool):
            raise Refused("no request named: set `request` to a number in the queue")
        what = self._runtime.cancel(number)
        _log.info("queued request %s: cancelled by %s", what, _who(message))
        return f"cancelled {what}: its client gets 503"

    def _stop(self, message: Message) -> Any:
        at_once = message.get("now") is True
        self._runtime.stop(_who(message), at_once)
        return "stopping now" if at_once else "stopping: requests in progress are finished first"


def _worker(message: Message) -> str:
    worker = message.get("worker")
    if not isinstance(worker, str | int) or isinstance(worker, bool):
        raise Refused("no worker named: set `worker`")
    return str(worker)[:200]


def _who(message: Message) -> str:
    """Return the name of the requester for the log: one short line."""
    who = message.get("who")
    if not isinstance(who, str):
        return "an unnamed client"
    return "".join(letter for letter in who if letter.isprintable())[:60] or "an unnamed client"


def window_of(message: Message, default: float = WINDOW) -> float:
    """Return the window that the client's message asks for, in seconds. Raises Refused if it is invalid."""
    value = _moment(message, "window", default)
    if not STEP <= value <= LONGEST:
        raise Refused(f"invalid `window`: expected seconds from {STEP} to {LONGEST:g}")
    return value


def _moment(message: Message, name: str, default: float) -> float:
    value = message.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Refused(f"invalid `{name}`: expected seconds")
    return value


def _number(message: Message, name: str, default: int, most: int) -> int:
    value = message.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refused(f"invalid `{name}`: expected a number from 1")
    return min(value, most)
