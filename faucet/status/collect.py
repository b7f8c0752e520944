"""The snapshot of a runtime, built on request.

Only the statistics are updated once per second, so that a new subscriber gets the history.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from time import monotonic
from typing import Any

from faucet import __version__
from faucet.fleet import Fleet, Refused, Way
from faucet.log.recent import Entry, RecentLog
from faucet.proxy.holders import Holder
from faucet.proxy.record import Account, describe
from faucet.proxy.server import Proxy
from faucet.proxy.stats import Record
from faucet.status.endpoints import Endpoints
from faucet.status.history import History, Window, counters_of
from faucet.status.leaks import Leaks
from faucet.status.limits import limit_rows
from faucet.status.moments import WINDOW, epoch, moment
from faucet.status.notices import REFUSING_SECONDS, CertificateState, LogLoss, Queue, State, is_pressed, notices
from faucet.status.quantiles import figure
from faucet.status.rows import worker_details, worker_row
from faucet.status.snapshot import LogRow, Notice, RequestRow, SecondRow, Service, Totals, WaitingRow, WorkerRow

_log = logging.getLogger("faucet")

SNAPSHOT_AGE = 0.02
"""Seconds for which a snapshot is reused for other subscribers."""

REFUSALS_SECONDS = 10.0
"""Seconds between two log events about refused requests."""

QUEUE_ROWS = 200
"""Queued requests in a snapshot; `Totals.waiting` counts all of them."""

TEXT_LIMIT = 2000
"""Longest line of output, and longest request target, in a snapshot, in characters."""


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
    ask_active: Callable[[dict[str, Any]], Any] | None = None
    """Forwards a command to the active Faucet of a group; None: this Faucet is the only one."""
    certificate: Callable[[], CertificateState] | None = None
    """Returns the state of the certificate for clients; None: they speak plain HTTP."""
    way_to_active: Callable[[], Way | None] | None = None
    """Returns where the active takes control connections, None if this is the active. Raises Refused."""
    owned: bool = False
    black_box: str = ""
    state: str = "starting"
    started: float = 0.0
    endpoints: Endpoints = field(default_factory=Endpoints)
    """Numbers by endpoint, up to one second old unless `follow` was just called."""
    leaks: Leaks = field(default_factory=Leaks)
    _pressed_since: float | None = None
    _log_loss: LogLoss | None = None
    history: History = field(default_factory=lambda: History(now()))
    _numbered: int = 0
    _refusals_told: int = 0
    _tell_next: float = 0.0
    _snapshots: dict[float, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def service(self) -> Service:
        """Return the first section of a snapshot: the title, address and state of the service."""
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
            notice=self.fleet.notice() or next((notice.text for notice in self.notices()), ""),
            resolved_by=origin.resolved_by,
            resolved=moment(origin.resolved),
            trouble=origin.trouble,
            link=origin.link,
            link_state=origin.link_state,
            link_since=moment(origin.link_since),
            link_detail=origin.link_detail,
            actions=tuple(self.fleet.actions),
            template=origin.template,
            black_box=self.black_box,
            group=origin.group,
        )

    def ready(self) -> int:
        """Return how many workers take requests, busy or not. Probes ask for it, so it computes no figures."""
        return sum(status.state == "ready" for status in self.fleet.statuses())

    def readiness(self) -> tuple[bool, str]:
        """Return whether this Faucet should get requests, and the reason as text.

        It should if a worker is ready or can be started on demand, or if this Faucet relays requests to the active one.
        """
        service, ready = self.service(), self.ready()
        words = f"{service.state}: {ready} of {self.fleet.count} workers ready"
        group = service.group
        serves = ready > 0 or self.proxy.pool.asleep
        if group is None:
            return serves and service.state == "serving", words
        good = not group.why_not_ready and (serves or group.role != "active")
        why = f", {group.why_not_ready}" if group.why_not_ready else ""
        return good and service.state == "serving", f"{words}, {group.role}{why}"

    def _state(self) -> str:
        if self.proxy.pool.draining:
            return "draining"
        return "failing" if self.proxy.pool.outage or self.fleet.failing else self.state

    def collect(self) -> None:
        """Add the latest times to the history, whenever a thousand have come together, until the service ends."""
        self.proxy.stats.on_times = lambda: self.history.follow(self.proxy.stats, now())

    def tick(self) -> None:
        """Update the history and the numbers by endpoint. Call this once per second."""
        dispatcher = self.proxy.pool.dispatcher
        self.history.tick(self.proxy.stats, dispatcher.locked, dispatcher.waiting, now())
        self.endpoints.follow(self.proxy.stats)
        self._tell_refusals()
        self._watch_queue()
        self._watch_log()
        self._watch_memory()

    def _watch_queue(self) -> None:
        """Record since when the queue is under pressure; None when the pressure is over."""
        self._pressed_since = (self._pressed_since or monotonic()) if is_pressed(self._queue_state()) else None

    def _watch_log(self) -> None:
        """Record since when the log cannot be written, why, and how many lines are lost."""
        why, lost = self.recent_log.trouble(), self.recent_log.lost()
        since = self._log_loss.since if self._log_loss is not None else monotonic()
        self._log_loss = LogLoss(since, why, lost) if why else None

    def _watch_memory(self) -> None:
        """Measure the memory of workers, to find those that keep growing."""
        if self.leaks.is_due(monotonic()):
            running = [account for account, _ in self.running()]
            self.leaks.look(monotonic(), self.fleet.statuses(), self.proxy.stats.recent, running)

    def _queue_state(self) -> Queue:
        dispatcher = self.proxy.pool.dispatcher
        excused = self.proxy.pool.draining or self.proxy.pool.outage
        refused = counters_of(self.proxy.stats).refused - self.window(REFUSING_SECONDS).since.refused
        oldest = dispatcher.oldest
        return Queue(
            waiting=dispatcher.waiting,
            limit=dispatcher.queue_limit,
            oldest=monotonic() - oldest if oldest is not None else 0.0,
            timeout=dispatcher.queue_timeout or 0.0,
            refused=0 if excused else refused,
            since=self._pressed_since,
            held_by=tuple(describe(lease.holder.account) for lease in dispatcher.leases()),
        )

    def running(self) -> list[tuple[Record, float]]:
        """Return each request that holds a lock, with the seconds for which it has held the lock."""
        moment = monotonic()
        return [(lease.holder.account, moment - lease.since) for lease in self.proxy.pool.dispatcher.leases()]

    def notices(self) -> list[Notice]:
        """Return the current problems, the worst first."""
        certificate = None if self.certificate is None else self.certificate()
        faults, leaks = self.fleet.faults(), self.leaks.found()
        queue, log = self._queue_state(), self._log_loss
        state = State(monotonic(), self.fleet.count, faults, queue, log, certificate, leaks)
        return [notice._replace(since=epoch(notice.since)) for notice in notices(state)]

    def window(self, seconds: float = WINDOW) -> Window:
        """Return the history of the last `seconds`, up to now."""
        self.history.follow(self.proxy.stats, now())
        return self.history.window(seconds, now())

    def _tell_refusals(self) -> None:
        """Log refused requests: at most one event every REFUSALS_SECONDS, for all refusals since the last event."""
        refused = self.proxy.stats.refused_requests - self._refusals_told
        if not refused or self.proxy.pool.draining or monotonic() < self._tell_next:
            return
        ours = (record for record in reversed(self.proxy.stats.recent) if record.status == 503 and not record.worker)
        latest = next(ours, None)
        why = latest.note if latest is not None else ""
        _log.warning("%s refused with 503: %s", "a request was" if refused == 1 else f"{refused} requests were", why)
        self._refusals_told += refused
        self._tell_next = monotonic() + REFUSALS_SECONDS

    def totals(self, window: Window | None = None) -> Totals:
        """Return the totals: rates, quantiles and errors of the window, and the current counts."""
        window = window or self.window()
        stats, dispatcher = self.proxy.stats, self.proxy.pool.dispatcher
        times, after, before = window.times(), counters_of(stats), window.since
        return Totals(
            rps=round((after.exchanges - before.exchanges) / window.seconds, 2),
            p50=figure(times, 0.5),
            p95=figure(times, 0.95),
            p99=figure(times, 0.99),
            locked=dispatcher.locked,
            workers=dispatcher.size,
            waiting=dispatcher.waiting,
            queue_limit=dispatcher.queue_limit,
            oldest=moment(dispatcher.oldest),
            errors=after.errors - before.errors,
            refused=after.refused - before.refused,
            requests=stats.exchanges,
            clients=len(self.proxy.clients),
            max_clients=self.proxy.clients.limit,
            buffered=self.proxy.clients.budget.used,
            buffer_total=self.proxy.clients.budget.total,
            seconds=round(min(window.seconds, window.asked)),
        )

    def seconds(self) -> list[SecondRow]:
        """Return a row for each second of the last minute, oldest first; fewer if the service is younger."""
        return list(self.history.seconds)

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
        """Return the number of a queued request. A request gets its number when it first appears in a snapshot."""
        if not account.number:
            self._numbered += 1
            account.number = self._numbered
        return account.number

    def cancel(self, number: int) -> str:
        """Cancel the queued request with this number: its client gets 503. Return a description of the request.

        Raises Refused if the request is no longer queued.
        """
        for holder, _ in self.proxy.pool.dispatcher.queue():
            account = holder.account
            if number and account.number == number:
                self.proxy.pool.cancel(holder)
                return f"{describe(account)} from {account.client}"
        raise Refused(f"request {number} is not queued: a worker has it, or it is over; `faucet ctl queue` lists them")

    def workers(self, window: Window | None = None) -> list[WorkerRow]:
        """Return a row for each worker, in order."""
        window = window or self.window()
        return [worker_row(status, self.proxy, window) for status in self.fleet.statuses()]

    def details(self, worker: str) -> dict[str, Any]:
        """Return all details of one worker. Raises Refused if there is no such worker."""
        return worker_details(self.fleet.details(worker), self.proxy, self.window())

    def snapshot(self, seconds: float = WINDOW) -> dict[str, Any]:
        """Return a new snapshot as sections by name. The figures cover the last `seconds`."""
        window = self.window(seconds)
        return {
            "service": self.service(),
            "totals": self.totals(window),
            "workers": self.workers(window),
            "queue": self.queue(),
            "seconds": self.seconds(),
            "limits": limit_rows(self.proxy.pool),
            "notices": self.notices(),
        }

    def shared_snapshot(self, seconds: float = WINDOW) -> dict[str, Any]:
        """Return a snapshot that is at most SNAPSHOT_AGE seconds old. Subscribers with the same window share it."""
        began = monotonic()
        taken, shared = self._snapshots.get(seconds, (-inf, {}))
        if began - taken > SNAPSHOT_AGE:
            shared = self.snapshot(seconds)
            self._snapshots = {other: each for other, each in self._snapshots.items() if began - each[0] < SNAPSHOT_AGE}
            self._snapshots[seconds] = monotonic(), shared
        return dict(shared)


def now() -> float:
    """Return the current time in seconds since the epoch, by the clock of all times in a snapshot.

    That clock follows the monotonic clock, so it never jumps.
    """
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
