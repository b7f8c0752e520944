"""A subscription to a runtime: keeps what was sent to one subscriber, and computes what to send next.

A subscriber gets a complete snapshot once, and then changes. The service never waits for a subscriber: nothing is sent
while it does not read. Afterwards it gets the changes to the current state, the newest lines, and the number of skipped
lines.
"""

from __future__ import annotations

from typing import Any

from faucet.control.protocol import Message
from faucet.log.recent import Entry, newest
from faucet.status.collect import Runtime, log_row, now, request_row
from faucet.status.history import SECONDS
from faucet.status.moments import WINDOW

FIRST_LINES = 200
"""Log lines in a subscriber's first update."""

FIRST_REQUESTS = 500
"""Requests in a subscriber's first update, for the initial lock lanes. They take 3 ms."""

LINES_PER_TURN = 100
"""Most log lines, and most requests, in each later update: more than a person can follow. They take 1 ms."""


class Subscriber:
    """One subscriber of `runtime`, and what was sent to it. Its figures cover the last `window` seconds."""

    def __init__(self, runtime: Runtime, window: float = WINDOW) -> None:
        self.window = window
        self._runtime = runtime
        self._seconds_seen = 0
        self._sent: dict[str, Any] = {}
        self._log_seen = max(runtime.recent_log.total - FIRST_LINES, 0)
        self._requests_seen = max(runtime.proxy.stats.exchanges - FIRST_REQUESTS, 0)

    def updates(self) -> list[Message]:
        """Return the messages that bring the subscriber up to date; none if nothing has changed."""
        messages = []
        first = not self._sent
        snapshot = self._runtime.shared_snapshot(self.window)
        snapshot["seconds"] = self._runtime.seconds()  # must match `ticks`; the shared snapshot may be older
        snapshot["workers"] = {row.key: row for row in snapshot["workers"]}
        changes = snapshot if first else self._changes(snapshot)
        self._sent = snapshot
        self._seconds_seen = self._runtime.history.ticks
        if changes:
            messages.append({"snapshot" if first else "changes": changes, "now": now()})
        messages += self._log(FIRST_LINES if first else LINES_PER_TURN)
        messages += self._requests(FIRST_REQUESTS if first else LINES_PER_TURN)
        return messages

    def _changes(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """Return the sections that differ. Of the workers, return only changed rows, and None for removed ones; of the
        seconds, only new ones."""
        sent = self._sent
        changes = {name: section for name, section in snapshot.items() if section != sent[name]}
        if "workers" in changes:
            before, after = sent["workers"], snapshot["workers"]
            rows = {key: row for key, row in after.items() if before.get(key) != row}
            changes["workers"] = rows | dict.fromkeys(before.keys() - after.keys())
        if "seconds" in changes:
            history = self._runtime.history
            changes["seconds"] = list(newest(history.seconds, history.ticks, self._seconds_seen, SECONDS)[0])
        return changes

    def _log(self, most: int) -> list[Message]:
        """Return a message with the new log lines, at most `most`. Faucet's own messages have priority."""
        recent_log = self._runtime.recent_log
        unseen, lost = newest(recent_log.entries, recent_log.total, self._log_seen, len(recent_log.entries))
        entries = list(unseen)
        self._log_seen = recent_log.total
        if not entries:
            return []
        sent = entries if len(entries) <= most else _most_important(entries, most)
        return [{"log": [log_row(entry) for entry in sent], "skipped": lost + len(entries) - len(sent)}]

    def _requests(self, most: int) -> list[Message]:
        stats = self._runtime.proxy.stats
        records, skipped = newest(stats.recent, stats.exchanges, self._requests_seen, most)
        rows = [request_row(record) for record in records]
        self._requests_seen = stats.exchanges
        return [{"requests": rows, "skipped": skipped}] if rows else []


def _most_important(entries: list[Entry], most: int) -> list[Entry]:
    """Return `most` entries in order: the newest of Faucet's own messages first, then the newest output of workers."""
    own = [number for number, entry in enumerate(entries) if entry.source not in ("out", "err")][-most:]
    others = [number for number, entry in enumerate(entries) if entry.source in ("out", "err")]
    chosen = sorted([*own, *others[len(others) - (most - len(own)) :]])
    return [entries[number] for number in chosen]
