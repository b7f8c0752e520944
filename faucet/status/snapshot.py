"""The sections and rows of a snapshot: plain tuples of numbers and text, built by one process and shown by another.

They travel as JSON arrays in the order of their fields: with any change of a field, change `control.protocol.PROTOCOL`.
Times are seconds since the epoch, so that an unchanged row need not be sent again; durations are seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from faucet.fleet import Group


class Service(NamedTuple):
    """What is served, where, and its state."""

    title: str
    """The directory that is served, or the URL of a service."""
    detail: str
    """How it is served: `entrypoint.R`, a command."""
    url: str
    """The address, for people."""
    port: int
    state: str
    """`starting`, `serving`, `failing` (no worker can be started) or `draining`."""
    started: float
    pid: int
    version: str
    mode: str
    """`local` or `k8s`."""
    owned: bool
    """Whether it ends with the monitor that started it."""
    notice: str
    """A sentence about what is happening, e.g. a rolling restart, or else about what is wrong; may be empty."""
    resolved_by: str
    resolved: float
    trouble: str
    link: str
    link_state: str
    link_since: float
    link_detail: str
    """These seven are as in `fleet.Origin`."""
    actions: tuple[str, ...]
    """Commands that its workers can be given, as in `fleet.Fleet`."""
    group: Group | None = None
    """The Faucets of the service; None: this is the only one."""
    black_box: str = ""
    """Where the last hour is recorded: a path and its limit in bytes, as a text; empty if nowhere."""
    template: int = -1
    """As in `fleet.Origin`."""

    @property
    def kind(self) -> str:
        """Which table its workers have: as `mode`, or `preload` where they are forked."""
        return self.mode if self.template < 0 else "preload"


class WorkerRow(NamedTuple):
    """One worker, or one process of it while it is being replaced."""

    key: str
    """Unique among the rows."""
    name: str
    """Its name in commands."""
    state: str
    """`starting`, `ready`, `busy`, `held`, `draining`, `backoff` or `failed`."""
    reason: str
    """Why it is not ready; empty if it is."""
    pid: int
    """0: no process on this machine."""
    port: int
    since: float
    """When it became ready or, before that, when it was started."""
    locked: float
    """When its lock was taken; 0: it is free."""
    request: str
    """The request that holds the lock: `POST /predict`."""
    client: str
    requests: int
    errors: int
    rps: float
    """Requests per second in the window, `Totals.seconds`."""
    p50: float | None
    p95: float | None
    """Quantiles of the service time in the window, in seconds; None without a request in it."""
    restarts: int
    address: str
    """`10.244.1.11:8000`; empty for a worker on this machine."""
    left: float = 0.0
    """When the client of the request that holds the lock left; 0: it has not."""
    exited: float = 0.0
    """When its process ended last though nobody had asked for that; 0: it never has."""
    exit: str = ""
    """How: `crashed (SIGSEGV) while serving GET /segv from 10.0.0.7 after 1.4s, 124MiB`."""


class Notice(NamedTuple):
    """Something that is wrong until further notice."""

    kind: str
    """`start`, `reload`, `pods`, `queue`, `crashes` or `log`."""
    level: str
    """`error` or `warning`."""
    since: float
    text: str
    """What is wrong, in one line."""
    detail: str = ""
    """All that is known of it, in lines: what R has written."""
    command: str = ""
    """A command that repairs it; empty if none is known."""


class WaitingRow(NamedTuple):
    """One queued request."""

    since: float
    client: str
    request: str
    number: int = 0
    """Its name in the command `cancel`."""
    patience: float = 0.0
    """Seconds for which it may be queued; 0: as long as it takes."""
    limit: str = ""
    """The limit whose requests hold as many locks as they may: it waits for them, even if a worker is free."""


class LimitRow(NamedTuple):
    """One limit for endpoints."""

    match: str
    """The requests that it is for: `GET /report/*`."""
    at_once: int
    """Locks that they may hold at the same time; 0: any number."""
    locked: int
    """Locks that they hold."""
    waiting: int
    """Of them, how many are queued."""
    queue_limit: int
    """How many of them may be queued."""
    oldest: float
    """When the first of them was queued; 0: none is."""
    held: float
    """Moving mean of the times for which they held locks, in seconds."""
    refused: int
    """Requests that got 503, since too many or for too long were queued; since the start."""


class RequestRow(NamedTuple):
    """One finished request."""

    ended: float
    client: str
    method: str
    target: str
    status: int
    sent: int
    received: int
    waited: float
    service: float
    worker: str
    note: str
    left: float = 0.0
    """Seconds of `service` for which the client was gone."""
    request_id: str = ""
    """The id that Faucet gave it; empty without --request-id."""
    error: str = ""
    """The last error that its worker wrote while it held the lock."""


class EndpointRow(NamedTuple):
    """One endpoint: a method and a path. Durations are in seconds."""

    endpoint: str
    """`GET /sales/<n>`; `other` for all that are not told apart."""
    requests: int
    rps: float
    """Requests per second."""
    p50: float
    p95: float
    """Quantiles of the service time."""
    slowest: float
    waited: float
    """Mean time in the queue."""
    errors: int
    """Answers of the class 5xx."""
    held: float
    """Time for which its requests held locks."""
    share: float
    """The share of it in that of all endpoints, from 0 to 1."""


class HistoryRow(NamedTuple):
    """A few seconds, or a minute, of the past."""

    when: float
    """When it begins."""
    seconds: float
    requests: int
    errors: int
    """Requests that a worker had and that were answered with 5xx."""
    refused: int
    """Requests that no worker had and that were answered with 503."""
    locked: int
    waiting: int
    """Most locks that were held, and most requests that were queued, when it was looked once a second."""
    p50: float
    p95: float
    slowest: float
    """Quantiles of the service time, and the longest."""
    waited50: float
    waited95: float
    longest: float
    """Quantiles of the time in the queue, and the longest."""
    service_heat: tuple[int, ...]
    waited_heat: tuple[int, ...]
    """Requests by service time and by time in the queue, as in `history.heat_of`."""


class LogRow(NamedTuple):
    """One line of a worker's output, or one message of Faucet."""

    when: float
    source: str
    worker: str
    text: str


class Totals(NamedTuple):
    """The totals of the whole service."""

    rps: float
    """Requests per second in the window."""
    p50: float | None
    p95: float | None
    p99: float | None
    """Quantiles of the service time in the window, in seconds; None without a request in it."""
    locked: int
    """Workers whose lock is held."""
    workers: int
    """Workers that the proxy knows, whatever their state."""
    waiting: int
    """Queued requests."""
    queue_limit: int
    oldest: float
    """When the first queued request was queued; 0: the queue is empty."""
    errors: int
    """Requests that a worker had and that were answered with 5xx, in the window."""
    refused: int
    """Requests that no worker had and that were answered with 503, in the window."""
    requests: int
    """Since the start."""
    clients: int
    """Client connections."""
    max_clients: int
    """Client connections that are allowed."""
    buffered: int
    """Used bytes of the buffer budget; what each client is granted in any case is not counted."""
    buffer_total: int
    """Bytes of the whole buffer budget."""
    seconds: float
    """The window: how many of the last seconds the figures are of, also those of workers. As many as were asked for,
    within a few; fewer if the service is younger, or had more requests than it keeps the times of."""


class SecondRow(NamedTuple):
    """One second of the last minute."""

    rps: int
    p95: float
    locked: int
    waiting: int
    errors: int
    """Responses with 5xx, and refused requests."""
