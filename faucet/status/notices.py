"""Notices about ongoing problems, computed from the state of the service by pure functions.

The monitor, `ctl status` and JSON show the same notices. A notice stays for as long as its cause. Its age is added
where the notice is shown, so the text changes only when the facts change. The text about the queue says how long the
first request has waited.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from faucet.fleet import Exit, Fault, Faults
from faucet.status.columns import format_age
from faucet.status.endpoint import endpoint_of
from faucet.status.leaks import Leaking, described
from faucet.status.snapshot import Notice
from faucet.units import counted

CRASHES, CRASH_SECONDS = 2, 600.0
"""Number of workers that must end during requests of one endpoint, within this many seconds, to cause a notice."""

FULL, CALM = 0.8, 0.5
"""Shares of the queue limit: at FULL the queue comes under pressure, below CALM the pressure is over."""

LATE, SOON = 0.5, 0.25
"""The same thresholds as shares of the queue timeout, for the request that has been queued longest."""

LEAK = (
    "The endpoint is a guess. Look for what stays after a request: what it assigns with <<-, "
    "caches without a limit, connections that are not closed. Until then, --max-rss or --max-requests replaces "
    "workers in time, without a failed request."
)
"""What to do about a worker that keeps growing."""

ERROR, WARNING = "error", "warning"

EXPIRES_SOON = 14 * 86400.0
"""Seconds before a certificate expires in which there is a notice: renewal, usually 30 days before, has failed."""

REFUSING_SECONDS = 10
"""Seconds for which the queue counts as under pressure after a request was refused."""


class Queue(NamedTuple):
    """The queue, and the requests that hold the locks. Durations are in seconds."""

    waiting: int
    limit: int
    oldest: float = 0.0
    """How long the first request has been queued."""
    timeout: float = 0.0
    """How long a request may be queued; 0: without limit."""
    refused: int = 0
    """Requests refused in the last REFUSING_SECONDS."""
    since: float | None = None
    """Since when the queue is under pressure (monotonic clock); None: it is not."""
    held_by: tuple[str, ...] = ()
    """The requests that hold locks: `GET /sleep?t=3`."""


class LogLoss(NamedTuple):
    """The log cannot be written, or not fast enough."""

    since: float
    why: str
    lost: int
    """Lines lost since the start."""


class CertificateState(NamedTuple):
    """The certificate for clients."""

    left: float
    """Seconds until it expires; negative if it has expired."""
    until: str
    """The day on which it expires."""
    refused: str = ""
    """Why a renewed one is not used; empty if there is none."""
    refused_since: float = 0.0


class State(NamedTuple):
    """The state of a service, from which notices are made. Moments are readings of the monotonic clock."""

    now: float
    workers: int
    """Number of workers that should run."""
    faults: Faults
    queue: Queue = Queue(0, 0)
    log: LogLoss | None = None
    certificate: CertificateState | None = None
    """None: clients speak plain HTTP."""
    leaks: tuple[Leaking, ...] = ()


def is_pressed(queue: Queue) -> bool:
    """Return whether the queue is under pressure. The thresholds have hysteresis: see FULL, CALM, LATE and SOON."""
    was = queue.since is not None
    full = queue.limit and queue.waiting >= queue.limit * (CALM if was else FULL)
    late = queue.timeout and queue.oldest >= queue.timeout * (SOON if was else LATE)
    return bool(queue.refused or (queue.waiting and (full or late)))


def notices(state: State) -> list[Notice]:
    """Return a notice for each problem, the worst first. `since` is a reading of the monotonic clock."""
    faults = state.faults
    found = [
        _start(faults.start, state.workers),
        _reload(faults.reload),
        _unreachable(faults.unreachable),
        _queue(state.queue),
        *_crashes(faults.exits, state.now),
        _memory(state.leaks),
        _log(state.log),
        *_certificate(state.certificate, state.now),
    ]
    return [notice for notice in found if notice is not None]


def _start(fault: Fault | None, count: int) -> Notice | None:
    if fault is None:
        return None
    none = fault.workers >= count
    who = "no worker can start" if none else f"{fault.workers} of {counted(count, 'worker')} cannot start"
    return _of("start", ERROR, fault, f"{who}: {fault.fact}")


def _reload(fault: Fault | None) -> Notice | None:
    if fault is None:
        return None
    who = f"{counted(fault.workers, 'old worker')} still serve{'s' if fault.workers == 1 else ''} OLD CODE"
    return _of("reload", ERROR, fault, f"reload failed: {fault.fact}; {who}")


def _unreachable(fault: Fault | None) -> Notice | None:
    return None if fault is None else _of("pods", ERROR, fault, fault.fact)


def _of(kind: str, level: str, fault: Fault, text: str) -> Notice:
    return Notice(kind, level, fault.since, text, fault.detail, fault.command)


def _queue(queue: Queue) -> Notice | None:
    if queue.since is None:
        return None
    parts = [f"queue {queue.waiting} of {queue.limit}"]
    if queue.held_by:
        held = Counter(endpoint_of(*_method_and_target(request)) for request in queue.held_by).most_common(2)
        parts.append("held up by " + ", ".join(f"{count} x {name}" for name, count in held))
    if queue.refused:
        refused = f"{counted(queue.refused, 'request')} got 503 in the last {REFUSING_SECONDS} s"
        parts.insert(len(parts) if queue.waiting else 0, refused)
    if queue.waiting and queue.timeout:
        parts.append(f"the first waits {format_age(queue.oldest)} of {format_age(queue.timeout)}")
    detail = (
        "More workers (faucet ctl scale +1), a faster endpoint, or a limit for the slow one (--limit) help. "
        "`faucet ctl queue` shows who waits, `faucet ctl endpoints` who takes the time."
    )
    return Notice("queue", ERROR if queue.refused else WARNING, queue.since, "; ".join(parts), detail)


def _crashes(exits: Sequence[Exit], now: float) -> list[Notice]:
    """Return a notice for each endpoint whose requests have ended several workers, the endpoint with most first."""
    by_endpoint: dict[str, list[Exit]] = defaultdict(list)
    for ended in exits:
        if ended.request and now - ended.when < CRASH_SECONDS:
            by_endpoint[endpoint_of(*_method_and_target(ended.request))].append(ended)
    return [
        Notice("crashes", ERROR, ends[0].when,
               f"{name} has ended {len(ends)} workers; the latest {ends[-1].text}",
               "\n".join(f"worker {ended.worker} {ended.text}" for ended in ends))
        for name, ends in sorted(by_endpoint.items(), key=lambda item: -len(item[1]))
        if len(ends) >= CRASHES
    ]  # fmt: skip


def _memory(leaks: Sequence[Leaking]) -> Notice | None:
    if not leaks:
        return None
    worst = leaks[0]
    others = f"; so {'does' if len(leaks) == 2 else 'do'} {counted(len(leaks) - 1, 'other')}" if len(leaks) > 1 else ""
    lines = "\n".join(f"worker {each.worker} {described(each.leak)}" for each in leaks)
    since = min(each.since for each in leaks)
    return Notice(
        "memory", WARNING, since, f"worker {worst.worker} {described(worst.leak)}{others}", f"{lines}\n{LEAK}"
    )


def _method_and_target(request: str) -> tuple[str, str]:
    method, _, target = request.partition(" ")
    return method, target


def _log(loss: LogLoss | None) -> Notice | None:
    if loss is None:
        return None
    text = f"the log loses lines ({loss.why}), {loss.lost} until now"
    return Notice("log", ERROR, loss.since, text, "The latest lines are kept in memory: faucet ctl logs.")


def _certificate(state: CertificateState | None, now: float) -> list[Notice]:
    """Return a notice for a certificate that expires soon, and for a renewed one that cannot be used."""
    if state is None:
        return []
    found = [_expiring(state, now)] if state.left < EXPIRES_SOON else []
    if state.refused:
        text = f"the certificate on disk is not used, the one before it is: {state.refused}"
        found.append(Notice("certificate", ERROR, state.refused_since, text))
    return found


def _expiring(state: CertificateState, now: float) -> Notice:
    days = counted(int(state.left // 86400), "day")
    text = f"expires in {days}, on {state.until}" if state.left > 0 else f"expired on {state.until}"
    detail = "Put a renewed certificate and its key into the files of --tls-cert and --tls-key: they are read again."
    level, since = WARNING if state.left > 0 else ERROR, now - (EXPIRES_SOON - state.left)
    return Notice("certificate", level, since, f"the certificate {text}", detail)
