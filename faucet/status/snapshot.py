"""The sections and rows of a snapshot: plain tuples of numbers and text, built by one process and shown by another.

They are sent as JSON arrays in the order of their fields. If you change a field, also change
`control.protocol.PROTOCOL`.
Times are seconds since the epoch, so that an unchanged row need not be sent again; durations are seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from faucet.fleet import Group


class Service(NamedTuple):
    """The service: its title, address and state."""

    title: str
    """The directory that is served, or the URL of a service."""
    detail: str
    """How it is served: `entrypoint.R`, a command."""
    url: str
    """The address as shown to users."""
    port: int
    state: str
    """`starting`, `serving`, `failing` (no worker can be started) or `draining`."""
    started: float
    pid: int
    version: str
    mode: str
    """`local` or `k8s`."""
    owned: bool
    """Whether the service stops when the monitor that started it ends."""
    notice: str
    """A sentence about an operation in progress, e.g. a rolling restart, or else about a problem; may be empty."""
    resolved_by: str
    resolved: float
    trouble: str
    link: str
    link_state: str
    link_since: float
    link_detail: str
    """These seven are as in `fleet.Origin`."""
    actions: tuple[str, ...]
    """Commands that the fleet offers for its workers, as in `fleet.Fleet`."""
    group: Group | None = None
    """The Faucets of the service; None: this is the only one."""
    black_box: str = ""
    """Where the last hour is recorded: a path and its limit in bytes, as text; empty without a black box."""
    template: int = -1
    """As in `fleet.Origin`."""

    @property
    def kind(self) -> str:
        """The kind of worker table: `preload` if workers are forked from a template, otherwise `mode`."""
        return self.mode if self.template < 0 else "preload"


class WorkerRow(NamedTuple):
    """One worker, or one of its processes while the worker is being replaced."""

    key: str
    """Unique among the rows."""
    name: str
    """The worker's name in commands."""
    state: str
    """`starting`, `ready`, `busy`, `held`, `draining`, `backoff` or `failed`."""
    reason: str
    """Why the worker is not ready; empty if it is."""
    pid: int
    """0: no process on this machine."""
    port: int
    since: float
    """When the worker became ready or, before that, when it was started."""
    locked: float
    """When the lock was acquired; 0: the lock is free."""
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
    """How often its process was replaced because it had failed or grown too large; planned restarts do not count."""
    address: str
    """`10.244.1.11:8000`; empty for a worker on this machine."""
    left: float = 0.0
    """When the client of the request that holds the lock disconnected; 0: it is still connected."""
    exited: float = 0.0
    """When the worker's process last ended unexpectedly; 0: never."""
    exit: str = ""
    """How it ended then: `crashed (SIGSEGV) while serving GET /segv from 10.0.0.7 after 1.4s, 124MiB`."""


class Notice(NamedTuple):
    """An ongoing problem."""

    kind: str
    """`start`, `reload`, `pods`, `queue`, `crashes`, `memory`, `log` or `certificate`."""
    level: str
    """`error` or `warning`."""
    since: float
    text: str
    """The problem, in one line."""
    detail: str = ""
    """Details, in lines, e.g. the output of R."""
    command: str = ""
    """A command that repairs the problem; empty if none is known."""


class WaitingRow(NamedTuple):
    """One queued request."""

    since: float
    client: str
    request: str
    number: int = 0
    """The number that identifies the request in the command `cancel`."""
    patience: float = 0.0
    """Seconds for which the request may be queued; 0: without limit."""
    limit: str = ""
    """The limit that holds this request back, even if a worker is free; empty if none does."""


class LimitRow(NamedTuple):
    """One limit for endpoints."""

    match: str
    """The requests that the limit applies to: `GET /report/*`."""
    at_once: int
    """Locks that these requests may hold at the same time; 0: any number."""
    locked: int
    """Locks that these requests hold now."""
    waiting: int
    """How many of these requests are queued."""
    queue_limit: int
    """How many of these requests may be queued."""
    oldest: float
    """When the first of these requests was queued; 0: none is queued."""
    held: float
    """Moving mean of the time for which these requests hold locks, in seconds."""
    refused: int
    """Requests refused with 503 since the start, because too many were queued, or for too long."""


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
    """Seconds of `service` during which the client was disconnected."""
    request_id: str = ""
    """The id that Faucet gave it; empty without --request-id."""
    error: str = ""
    """The last error that the worker wrote while the request held the lock."""


class EndpointRow(NamedTuple):
    """One endpoint: a method and a path. Durations are in seconds."""

    endpoint: str
    """`GET /sales/<n>`; `other` for all endpoints without a name of their own."""
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
    """Responses with a status of 5xx."""
    held: float
    """Total time for which requests of the endpoint held locks."""
    share: float
    """`held` as a share of the lock time of all endpoints, from 0 to 1."""


class HistoryRow(NamedTuple):
    """A few seconds, or a minute, of the past."""

    when: float
    """When the period begins."""
    seconds: float
    requests: int
    errors: int
    """Requests that were assigned to a worker and answered with 5xx."""
    refused: int
    """Requests that were answered with 503 without a worker."""
    locked: int
    waiting: int
    """Most locks held, and most requests queued, sampled once a second."""
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
    """Workers in the proxy's pool, in any state."""
    waiting: int
    """Queued requests."""
    queue_limit: int
    oldest: float
    """When the first queued request was queued; 0: the queue is empty."""
    errors: int
    """Requests in the window that were assigned to a worker and answered with 5xx."""
    refused: int
    """Requests in the window that were answered with 503 without a worker."""
    requests: int
    """Requests since the start."""
    clients: int
    """Client connections."""
    max_clients: int
    """Limit on client connections."""
    buffered: int
    """Used bytes of the buffer budget, without the part that each client may always use."""
    buffer_total: int
    """Bytes of the whole buffer budget."""
    seconds: float
    """The window: the seconds that the figures cover, here and in the rows of workers. Close to the window requested;
    shorter if the service started later, or had more requests than the history keeps."""


class SecondRow(NamedTuple):
    """One second of the last minute."""

    rps: int
    p95: float
    locked: int
    waiting: int
    errors: int
    """Responses with a status of 5xx, and refused requests."""
