"""What the monitor knows: made of the messages of a runtime, and of nothing else."""

from __future__ import annotations

from collections import deque
from time import time
from typing import Any

from faucet.control.protocol import Message
from faucet.status.snapshot import LogRow, RequestRow, SecondRow, Service, Totals, WaitingRow, WorkerRow

LINES = 5000
"""Lines of the log that are kept."""

REQUESTS = 1000

OWN_SOURCES = ("info", "warning", "error")
"""What Faucet says itself: the events."""

LogItem = LogRow | RequestRow


class Model:
    """The state of one runtime, as far as it was told."""

    def __init__(self) -> None:
        self.service: Service | None = None
        self.totals: Totals | None = None
        self.workers: dict[str, WorkerRow] = {}
        self.queue: list[WaitingRow] = []
        self.seconds: list[SecondRow] = []
        self.log: deque[LogItem] = deque(maxlen=LINES)
        self.requests: deque[RequestRow] = deque(maxlen=REQUESTS)
        self.events: deque[LogRow] = deque(maxlen=REQUESTS)
        self.counts = {"log": 0, "requests": 0, "events": 0}
        """Items ever put into each."""
        self.link = "connecting"
        """Empty while all is well; else what is the matter with the connection."""
        self.version = 0
        """Changes with every message."""
        self._offset = 0.0  # from our clock to the runtime's
        self._pending: list[tuple[float, LogItem]] = []

    def now(self) -> float:
        """The runtime's clock."""
        return time() + self._offset

    @property
    def rows(self) -> list[WorkerRow]:
        """All workers."""
        return list(self.workers.values())

    def apply(self, message: Message) -> None:
        """Take one message."""
        self.version += 1
        if "now" in message:
            self._offset = message["now"] - time()
        if "snapshot" in message:
            self.workers = {}
            self._take(message["snapshot"])
        elif "changes" in message:
            self._take(message["changes"])
        elif "log" in message:
            self._skipped(message)
            for values in message["log"]:
                row = LogRow(*values)
                self._pending.append((row.when, row))
                if row.source in OWN_SOURCES:
                    self._add("events", self.events, row)
        elif "requests" in message:
            self._skipped(message)
            for values in message["requests"]:
                request = RequestRow(*values)
                self._pending.append((request.ended, request))
                self._add("requests", self.requests, request)

    def settle(self) -> None:
        """Put what came together into the log, in the order of time."""
        self._pending.sort(key=lambda pair: pair[0])
        for _, item in self._pending:
            self._add("log", self.log, item)
        self._pending.clear()

    def forget(self) -> None:
        """Another connection tells everything anew."""
        for name, ring in (("log", self.log), ("requests", self.requests), ("events", self.events)):
            ring.clear()
            self.counts[name] = 0
        self._pending.clear()

    def _take(self, sections: dict[str, Any]) -> None:
        if "service" in sections:
            self.service = Service(*sections["service"])
        if "totals" in sections:
            self.totals = Totals(*sections["totals"])
        for key, values in sections.get("workers", {}).items():
            if values is None:
                self.workers.pop(key, None)
            else:
                self.workers[key] = WorkerRow(*values)
        if "queue" in sections:
            self.queue = [WaitingRow(*values) for values in sections["queue"]]
        if "seconds" in sections:
            self.seconds = [SecondRow(*values) for values in sections["seconds"]]

    def _skipped(self, message: Message) -> None:
        kind = "log" if "log" in message else "requests"
        rows = message[kind]
        # At first everything older is left out, of course.
        if message.get("skipped") and rows and self.counts[kind]:
            when = float(rows[0][0])
            what = "lines" if kind == "log" else "requests"
            self._pending.append((when, LogRow(when, "skipped", "", f"… {message['skipped']} {what} are not shown")))

    def _add(self, name: str, ring: deque[Any], item: Any) -> None:
        ring.append(item)
        self.counts[name] += 1
