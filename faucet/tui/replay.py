"""Replay of a recording: restores the model at any moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from faucet.control.protocol import ProtocolError, decode
from faucet.control.recording import Recording, time_of
from faucet.proxy.stats import Record
from faucet.status.endpoints import Endpoints
from faucet.status.history import heat_of
from faucet.status.quantiles import quantile_of
from faucet.status.snapshot import EndpointRow, HistoryRow, LogRow, RequestRow
from faucet.tui.model import Model

BACK = 120.0
"""Least number of seconds before a moment from which lines and requests are read."""

ON = 120.0
"""Seconds up to which reading on is faster than a new start at a keyframe."""


class PastModel(Model):
    """A model at a fixed moment of the past."""

    at = 0.0

    def now(self) -> float:
        """Return the moment that is shown, in seconds since the epoch."""
        return self.at


class Player:
    """A position in a recording, with the model at that moment."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.model = PastModel()
        self.at = 0.0
        self._back = 0.0
        self._chunk = 0  # the number of the chunk that is read
        self._line = 0  # number of its lines that have been applied

    def seek(self, when: float, back: float = BACK) -> None:
        """Go to a moment of the recording, and read the lines and requests of `back` seconds before it."""
        chunks = self.recording.chunks
        if not chunks:
            return
        when = min(max(when, self.recording.start), self.recording.end)
        known = chunks[0].number <= self._chunk
        if not known or not self.at <= when <= self.at + ON or back > self._back:
            starts = [chunk.start for chunk in chunks]
            self.model, self._back, self._line = PastModel(), back, 0
            self._chunk = chunks[max(bisect_right(starts, when - back) - 1, 0)].number
        self._read(when)
        self.model.settle()
        self.at = self.model.at = when
        self.model.link = ""

    def _read(self, until: float) -> None:
        """Apply the messages up to a moment."""
        for chunk in list(self.recording.chunks):
            if chunk.number < self._chunk:
                continue
            if chunk.start > until:
                return
            if chunk.number > self._chunk:
                self._chunk, self._line = chunk.number, 0
            lines = chunk.lines
            while self._line < len(lines) and time_of(lines[self._line]) <= until:
                self._apply(lines[self._line])
                self._line += 1

    def _apply(self, line: bytes) -> None:
        try:
            message = decode(line)
        except ProtocolError:
            return  # the line is truncated
        if "snapshot" in message and not message.get("keyframe"):
            self.model.forget()  # a new connection, which sends all lines again
        self.model.apply(message)


def lines_of(model: Model, worker: str, since: float, until: float, last: int) -> list[dict[str, Any]]:
    """Return the latest lines about a worker between two moments, in the form of the command `logs`."""
    rows = [row for row in model.log if isinstance(row, LogRow) and row.worker == worker and since <= row.when <= until]
    return [row._asdict() for row in rows[-last:]]


def requests_of(model: Model, since: float) -> list[RequestRow]:
    """Return the finished requests of a model that ended at `since` or later."""
    served = {hold.item for hold in model.holds.since(since) if isinstance(hold.item, RequestRow)}
    return sorted(served | {row for row in model.requests if row.ended >= since})


def endpoints_of(rows: Sequence[RequestRow], now: float, window: float) -> list[EndpointRow]:
    """Return the endpoints of requests, computed as in a runtime."""
    endpoints = Endpoints()
    endpoints.add(map(_record, rows))
    return endpoints.rows(now, window)[0]


def _record(row: RequestRow) -> Record:
    return Record(row.ended, row.client, row.method.encode("latin-1"), row.target.encode("latin-1"), 1, row.status,
                  row.sent, row.received, row.waited, row.service, row.worker, row.note)  # fmt: skip


def history_of(rows: Sequence[RequestRow], step: int) -> list[HistoryRow]:
    """Return requests as rows of the history, without the number of held locks, which requests do not contain."""
    groups: dict[int, list[RequestRow]] = {}
    for row in rows:
        groups.setdefault(int(row.ended // step), []).append(row)
    return [_history_row(number * step, step, group) for number, group in sorted(groups.items())]


def _history_row(when: float, step: int, rows: Sequence[RequestRow]) -> HistoryRow:
    service = sorted(row.service for row in rows if row.worker)
    waited = sorted(row.waited for row in rows)
    return HistoryRow(
        when=when, seconds=step, requests=len(rows), locked=0, waiting=0,
        errors=sum(row.status >= 500 for row in rows if row.worker),
        refused=sum(row.status == 503 for row in rows if not row.worker),
        p50=quantile_of(service, 0.5), p95=quantile_of(service, 0.95), slowest=service[-1] if service else 0.0,
        waited50=quantile_of(waited, 0.5), waited95=quantile_of(waited, 0.95), longest=waited[-1],
        service_heat=heat_of([service]), waited_heat=heat_of([waited]),
    )  # fmt: skip
