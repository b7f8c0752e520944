"""The state that the monitor shows, built only from the messages of a runtime."""

from __future__ import annotations

from collections import deque
from time import time
from typing import Any

from faucet.control.protocol import Message
from faucet.status.history import SECONDS
from faucet.status.snapshot import (
    LimitRow,
    LogRow,
    Notice,
    RequestRow,
    SecondRow,
    Service,
    Totals,
    WaitingRow,
    WorkerRow,
)
from faucet.tui.holds import Holds

LINES = 5000
"""Log lines that are kept."""

REQUESTS = 1000
"""Requests, and events, that are kept."""

OWN_SOURCES = ("info", "warning", "error")
"""Sources of Faucet's own messages, which are the events."""

LogItem = LogRow | RequestRow


class Model:
    """The state of one runtime, as of its latest message."""

    def __init__(self) -> None:
        self.service: Service | None = None
        self.totals: Totals | None = None
        self.workers: dict[str, WorkerRow] = {}
        self.queue: list[WaitingRow] = []
        self.notices: list[Notice] = []
        """The current problems, the worst first."""
        self.seconds: deque[SecondRow] = deque(maxlen=SECONDS)
        self.limits: list[LimitRow] = []
        self.log: deque[LogItem] = deque(maxlen=LINES)
        self.requests: deque[RequestRow] = deque(maxlen=REQUESTS)
        self.events: deque[LogRow] = deque(maxlen=REQUESTS)
        self.holds = Holds()
        self.counts = {"log": 0, "requests": 0, "events": 0}
        """Number of items added to each list since the connection was made."""
        self.link = "connecting"
        """The problem of the connection; empty while it is up."""
        self.version = 0
        """Changes with every message."""
        self._offset = 0.0  # seconds from the local clock to the runtime's clock
        self._pending: list[tuple[float, LogItem]] = []

    def now(self) -> float:
        """Return the time by the runtime's clock, in seconds since the epoch."""
        return time() + self._offset

    @property
    def url(self) -> str:
        """The address of the service."""
        return self.service.url if self.service is not None else ""

    @property
    def rows(self) -> list[WorkerRow]:
        """The rows of all workers."""
        return list(self.workers.values())

    def apply(self, message: Message) -> None:
        """Update the state from one message."""
        self.version += 1
        if "now" in message:
            self._offset = message["now"] - time()
        if "snapshot" in message:
            self.workers = {}
            self.seconds.clear()
            self._take(message["snapshot"], message["now"])
        elif "changes" in message:
            self._take(message["changes"], message["now"])
        elif "log" in message:
            self._take_log(message)
        elif "requests" in message:
            self._take_requests(message)

    def _take_log(self, message: Message) -> None:
        self._skipped(message)
        for values in message["log"]:
            row = LogRow(*values)
            self._pending.append((row.when, row))
            if row.source in OWN_SOURCES:
                self._add("events", self.events, row)
                self.holds.see_event(row)

    def _take_requests(self, message: Message) -> None:
        self._skipped(message)
        rows = [RequestRow(*values) for values in message["requests"]]
        if rows and self._left_out(message, len(rows)):
            self.holds.see_skipped(rows[0])
        self.holds.add_requests(rows)
        for row in rows:
            self._pending.append((row.ended, row))
            self._add("requests", self.requests, row)

    def _left_out(self, message: Message, rows: int) -> bool:
        """Return whether requests before those of a message are missing. The first message always omits older ones."""
        if self.counts["requests"]:
            return bool(message.get("skipped"))
        return self.totals is not None and self.totals.requests > rows

    def settle(self) -> None:
        """Add pending lines and requests to the log, ordered by time."""
        self._pending.sort(key=lambda pair: pair[0])
        for _, item in self._pending:
            self._add("log", self.log, item)
        self._pending.clear()

    def forget(self) -> None:
        """Clear all lines, because a new connection sends them again."""
        for name, ring in (("log", self.log), ("requests", self.requests), ("events", self.events)):
            ring.clear()
            self.counts[name] = 0
        self._pending.clear()
        self.holds = Holds()

    def _take(self, sections: dict[str, Any], now: float) -> None:
        if "service" in sections:
            self.service = Service(*sections["service"])
        if "totals" in sections:
            self.totals = Totals(*sections["totals"])
        for key, values in sections.get("workers", {}).items():
            if values is None:
                self.workers.pop(key, None)
            else:
                self.workers[key] = WorkerRow(*values)
        self.holds.see(self.workers.values(), now)
        if "queue" in sections:
            self.queue = [WaitingRow(*values) for values in sections["queue"]]
        if "notices" in sections:
            self.notices = [Notice(*values) for values in sections["notices"]]
        if "seconds" in sections:
            self.seconds.extend(SecondRow(*values) for values in sections["seconds"])
        if "limits" in sections:
            self.limits = [LimitRow(*values) for values in sections["limits"]]

    def _skipped(self, message: Message) -> None:
        kind = "log" if "log" in message else "requests"
        rows = message[kind]
        # The first message always leaves out everything older.
        if message.get("skipped") and rows and self.counts[kind]:
            when = float(rows[0][0])
            what = "lines" if kind == "log" else "requests"
            self._pending.append((when, LogRow(when, "skipped", "", f"… {message['skipped']} {what} are not shown")))

    def _add(self, name: str, ring: deque[Any], item: Any) -> None:
        ring.append(item)
        self.counts[name] += 1
