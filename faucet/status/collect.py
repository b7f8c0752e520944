"""The snapshot of a runtime, built only when it is asked for.

Only the counters of the last minute are updated once per second, so that a new subscriber gets a history.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import Any

from faucet import __version__
from faucet.fleet import Fleet, Refused
from faucet.log.recent import Entry, RecentLog
from faucet.proxy.pool import Holder
from faucet.proxy.record import Account, describe
from faucet.proxy.server import Proxy
from faucet.proxy.stats import HISTORY_SECONDS, Record, Second, quantile
from faucet.status.endpoints import Endpoints
from faucet.status.limits import limit_rows
from faucet.status.rows import epoch, moment, worker_details, worker_row
from faucet.status.snapshot import LogRow, RequestRow, SecondRow, Service, Totals, WaitingRow, WorkerRow

_log = logging.getLogger("faucet")

RATE_SECONDS = 10
"""Seconds over which the request rate is averaged."""

SNAPSHOT_AGE = 0.02
"""Seconds for which a snapshot is reused for other subscribers."""

REFUSALS_SECONDS = 10.0
"""Seconds between two events about refused requests."""

QUEUE_ROWS = 200
"""Queued requests in a snapshot; `Totals.waiting` counts all of them."""

TEXT_LIMIT = 2000
"""Characters of one line of output, and of a request target, in a snapshot."""


@dataclass
class Runtime:
    """One running service, as the control socket and the admin listener see it."""

    proxy: Proxy
    fleet: Fleet
    recent_log: RecentLog
    title: str
    detail: str
    mode: str
    url: str
    port: int
    stop: Callable[[str, bool], None]
    """Stops the service; called with the name of the requester, and whether to stop at once."""
    owned: bool = False
    state: str = "starting"
    started: float = 0.0
    endpoints: Endpoints = field(default_factory=Endpoints)
    """Up to a second old, but for `follow`."""
    _seconds: deque[SecondRow] = field(default_factory=lambda: deque(maxlen=HISTORY_SECONDS))
    _numbered: int = 0
    _refusals_told: int = 0
    _tell_next: float = 0.0
    _snapshot: dict[str, Any] | None = None
    _taken: float = 0.0

    def service(self) -> Service:
        """Return what is served, where, and its state."""
        origin = self.fleet.origin()
        return Service(
            title=self.title,
            detail=self.detail,
            url=self.url,
            port=self.port,
            state=self._state(),
            started=self.started,
            pid=os.getpid(),
            version=__version__,
            mode=self.mode,
            owned=self.owned,
            notice=self.fleet.notice(),
            resolved_by=origin.resolved_by,
            resolved=moment(origin.resolved),
            trouble=origin.trouble,
            link=origin.link,
            link_state=origin.link_state,
            link_since=moment(origin.link_since),
            link_detail=origin.link_detail,
            actions=tuple(self.fleet.actions),
        )

    def _state(self) -> str:
        if self.proxy.pool.draining:
            return "draining"
        return "failing" if self.proxy.pool.outage or self.fleet.failing else self.state

    def tick(self) -> None:
        """Update the history of the last minute; to be called once per second."""
        dispatcher, history = self.proxy.pool.dispatcher, self.proxy.stats.history
        self.proxy.stats.tick(dispatcher.locked, dispatcher.waiting)
        self.endpoints.follow(self.proxy.stats)
        if len(history) > 1:
            self._seconds.append(_second(history[-2], history[-1]))
        self._tell_refusals()

    def _tell_refusals(self) -> None:
        """Log refused requests: one event for all of the last REFUSALS_SECONDS."""
        refused = self.proxy.stats.refused_requests - self._refusals_told
        if not refused or self.proxy.pool.draining or monotonic() < self._tell_next:
            return
        ours = (record for record in reversed(self.proxy.stats.recent) if record.status == 503 and not record.worker)
        latest = next(ours, None)
        why = latest.note if latest is not None else ""
        _log.warning("%s refused with 503: %s", "a request was" if refused == 1 else f"{refused} requests were", why)
        self._refusals_told += refused
        self._tell_next = monotonic() + REFUSALS_SECONDS

    def totals(self) -> Totals:
        """Return the totals of the last minute and of now."""
        stats, dispatcher = self.proxy.stats, self.proxy.pool.dispatcher
        past = stats.history[0] if stats.history else None
        minute = _difference(stats.service.counts, past.service) if past else stats.service.counts
        oldest = dispatcher.oldest
        return Totals(
            rps=self._rate(),
            p50=quantile(minute, 0.5) or None,  # 0 seconds: there are none
            p95=quantile(minute, 0.95) or None,
            p99=quantile(minute, 0.99) or None,
            locked=dispatcher.locked,
            workers=dispatcher.size,
            waiting=dispatcher.waiting,
            queue_limit=dispatcher.queue_limit,
            oldest=moment(oldest),
            errors=stats.errors - (past.errors if past else 0),
            refused=stats.refused_requests - (past.refused if past else 0),
            requests=stats.exchanges,
            clients=len(self.proxy.clients),
            max_clients=self.proxy.clients.limit,
            buffered=self.proxy.clients.budget.used,
            buffer_total=self.proxy.clients.budget.total,
        )

    def _rate(self) -> float:
        history = self.proxy.stats.history
        seconds = min(RATE_SECONDS, len(history) - 1)
        if seconds < 1:
            return float(self.proxy.stats.exchanges)
        return (history[-1].exchanges - history[-1 - seconds].exchanges) / seconds

    def seconds(self) -> list[SecondRow]:
        """Return a row for each second of the last minute, oldest first; fewer if the service is younger."""
        return list(self._seconds)

    def queue(self) -> list[WaitingRow]:
        """Return the queued requests, the next one first; at most QUEUE_ROWS."""
        waiting = islice(self.proxy.pool.dispatcher.queue(), QUEUE_ROWS)
        return [self._waiting_row(holder, since) for holder, since in waiting]

    def _waiting_row(self, holder: Holder, since: float) -> WaitingRow:
        account = holder.account
        dispatcher = self.proxy.pool.dispatcher
        return WaitingRow(
            epoch(since), account.client, describe(account), self._number_of(account),
            dispatcher.patience(holder) or 0.0, dispatcher.limited_by(holder),
        )  # fmt: skip

    def _number_of(self, account: Account) -> int:
        """Return the number of a queued request; only those that somebody looks at get one."""
        if not account.number:
            self._numbered += 1
            account.number = self._numbered
        return account.number

    def cancel(self, number: int) -> str:
        """End the queued request with this number: its client gets 503. Return what it asked for.

        Raises Refused if it is not queued any more.
        """
        for holder, _ in self.proxy.pool.dispatcher.queue():
            account = holder.account
            if number and account.number == number:
                self.proxy.pool.cancel(holder)
                return f"{describe(account)} from {account.client}"
        raise Refused(f"request {number} is not queued: a worker has it, or it is over; `faucet ctl queue` lists them")

    def workers(self) -> list[WorkerRow]:
        """Return a row for each worker, in order."""
        return [worker_row(status, self.proxy) for status in self.fleet.statuses()]

    def details(self, worker: str) -> dict[str, Any]:
        """Return all details of one worker. Raises Refused if there is no such worker."""
        return worker_details(self.fleet.details(worker), self.proxy)

    def snapshot(self) -> dict[str, Any]:
        """Return a new snapshot: its sections by name."""
        return {
            "service": self.service(),
            "totals": self.totals(),
            "workers": self.workers(),
            "queue": self.queue(),
            "seconds": self.seconds(),
            "limits": limit_rows(self.proxy.pool),
        }

    def shared_snapshot(self) -> dict[str, Any]:
        """Return a snapshot that is at most SNAPSHOT_AGE old; subscribers share it."""
        if self._snapshot is None or monotonic() - self._taken > SNAPSHOT_AGE:
            self._snapshot, self._taken = self.snapshot(), monotonic()
        return dict(self._snapshot)


def now() -> float:
    """Return seconds since the epoch by the clock of all times in a snapshot, which never jumps."""
    return epoch(monotonic())


def request_row(record: Record) -> RequestRow:
    """Return a request's record as a row of a snapshot."""
    return RequestRow(
        ended=round(record.ended, 3),
        client=record.client,
        method=record.method.decode("latin-1"),
        target=record.target[:TEXT_LIMIT].decode("latin-1"),
        status=record.status,
        sent=record.sent,
        received=record.received,
        waited=round(record.waited, 6),
        service=round(record.service, 6),
        worker=record.worker,
        note=record.note,
        left=round(record.left, 3),
        request_id=record.request_id,
        error=record.error,
    )


def log_row(entry: Entry) -> LogRow:
    """Return a log entry as a row of a snapshot, its text cut to TEXT_LIMIT."""
    return LogRow(round(entry.when, 3), entry.source, entry.worker, entry.text[:TEXT_LIMIT])


def _difference(after: Sequence[int], before: Sequence[int]) -> list[int]:
    return [new - old for new, old in zip(after, before, strict=True)]


def _second(before: Second, after: Second) -> SecondRow:
    counts = _difference(after.service, before.service)
    errors = after.errors - before.errors + after.refused - before.refused
    return SecondRow(
        after.exchanges - before.exchanges, round(quantile(counts, 0.95), 5), after.locked, after.waiting, errors
    )
