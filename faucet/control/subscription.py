"""What one viewer has been told, and what it has to be told next.

A viewer gets a whole picture once, and then what has changed. It is never waited for: while it does not read, it is
told nothing, and afterwards what is true then. Of the lines that were said meanwhile it gets the newest, and the
number of the others.
"""

from __future__ import annotations

from typing import Any

from faucet.control.protocol import Message
from faucet.log.recent import Entry, newest
from faucet.status.collect import Runtime, log_row, now, request_row

FIRST_LINES = 200
"""Lines of the log, and requests, that a viewer gets at first."""

LINES_PER_TURN = 100
"""Of the log, and of requests, that are told at once: more than anybody can read. Takes 1 ms."""


class Viewer:
    """One that watches."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: dict[str, Any] = {}
        self._log_seen = max(runtime.recent_log.total - FIRST_LINES, 0)
        self._requests_seen = max(runtime.proxy.stats.exchanges - FIRST_LINES, 0)

    def news(self) -> list[Message]:
        """What it has not been told yet: messages, perhaps none."""
        messages = []
        first = not self._told
        picture = self._runtime.shared_picture()
        picture["workers"] = {row.key: row for row in picture["workers"]}
        changes = picture if first else self._changes(picture)
        self._told = picture
        if changes:
            messages.append({"snapshot" if first else "changes": changes, "now": now()})
        messages += self._log(FIRST_LINES if first else LINES_PER_TURN)
        messages += self._requests(FIRST_LINES if first else LINES_PER_TURN)
        return messages

    def _changes(self, picture: dict[str, Any]) -> dict[str, Any]:
        """The sections that differ; of the workers the rows that differ, null for those that are gone."""
        told = self._told
        changes = {name: section for name, section in picture.items() if section != told[name]}
        if "workers" in changes:
            before, after = told["workers"], picture["workers"]
            rows = {key: row for key, row in after.items() if before.get(key) != row}
            changes["workers"] = rows | dict.fromkeys(before.keys() - after.keys())
        return changes

    def _log(self, most: int) -> list[Message]:
        """Where there is more than can be told, what Faucet says itself goes first."""
        recent_log = self._runtime.recent_log
        unseen, lost = newest(recent_log.entries, recent_log.total, self._log_seen, len(recent_log.entries))
        entries = list(unseen)
        self._log_seen = recent_log.total
        if not entries:
            return []
        told = entries if len(entries) <= most else _most_important(entries, most)
        return [{"log": [log_row(entry) for entry in told], "skipped": lost + len(entries) - len(told)}]

    def _requests(self, most: int) -> list[Message]:
        stats = self._runtime.proxy.stats
        records, skipped = newest(stats.recent, stats.exchanges, self._requests_seen, most)
        rows = [request_row(record) for record in records]
        self._requests_seen = stats.exchanges
        return [{"requests": rows, "skipped": skipped}] if rows else []


def _most_important(entries: list[Entry], most: int) -> list[Entry]:
    """The newest `most`, but all that Faucet itself has said before others."""
    own = [number for number, entry in enumerate(entries) if entry.source not in ("out", "err")][-most:]
    others = [number for number, entry in enumerate(entries) if entry.source in ("out", "err")]
    chosen = sorted([*own, *others[len(others) - (most - len(own)) :]])
    return [entries[number] for number in chosen]
