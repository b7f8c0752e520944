"""What a viewer sees of a runtime: plain tuples of numbers and text, made by one process and shown by another.

They travel as JSON arrays in the order of their fields. Whoever changes a field changes `control.protocol.PROTOCOL`.
Times are seconds since the epoch, so that what stands still need not be sent again; durations are seconds.
"""

from __future__ import annotations

from typing import NamedTuple

TARGET_LIMIT = 300
"""Characters of a request's target that are shown. A target may have 64 KiB."""


class Service(NamedTuple):
    """What is served, and by whom."""

    title: str
    """What is served: a directory, or the URL of a service."""
    detail: str
    """How: `entrypoint.R`, a command."""
    url: str
    """Where, for people."""
    port: int
    state: str
    """`starting`, `serving`, `failing` (no worker can be started), `draining`."""
    started: float
    pid: int
    version: str
    mode: str
    """`local` or `k8s`."""
    owned: bool
    """It ends with the monitor that started it."""
    notice: str
    """A sentence about what goes on, e.g. a rolling restart; empty if nothing does."""
    resolved_by: str
    resolved: float
    trouble: str
    link: str
    link_state: str
    link_since: float
    link_detail: str
    """As in Origin."""


class WorkerRow(NamedTuple):
    """One worker, or one process of it while it is being replaced."""

    key: str
    """Unlike any other row's."""
    name: str
    """What commands call it."""
    state: str
    """`starting`, `ready`, `busy`, `held`, `draining`, `backoff`, `failed`."""
    reason: str
    """Why it is not ready; empty if it is."""
    pid: int
    """0: none."""
    port: int
    since: float
    """When it came into service, or into a state before that."""
    locked: float
    """When its lock was taken; 0: it is free."""
    request: str
    """What holds the lock: `POST /predict`."""
    client: str
    requests: int
    errors: int
    rps: float
    """Requests a second, over the last ten seconds."""
    p50: float
    p95: float
    """Quantiles of the service time of the last minute."""
    restarts: int
    address: str
    """Where it is, if not on this machine: `10.244.1.11:8000`."""


class WaitingRow(NamedTuple):
    """One request in the queue."""

    since: float
    client: str
    request: str


class RequestRow(NamedTuple):
    """One exchange that has ended."""

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


class LogRow(NamedTuple):
    """One line of a worker's output, or of Faucet's own."""

    when: float
    source: str
    worker: str
    text: str


class Totals(NamedTuple):
    """The numbers at the top."""

    rps: float
    """Requests a second, over the last ten seconds."""
    p50: float
    p95: float
    p99: float
    """Quantiles of the service time over the last minute."""
    locked: int
    workers: int
    """Workers that can be locked."""
    waiting: int
    queue_limit: int
    oldest: float
    """Since when the first in the queue waits; 0: nobody does."""
    errors: int
    refused: int
    """In the last minute."""
    requests: int
    """In all."""
    clients: int
    """Connections."""


class SecondRow(NamedTuple):
    """One second of the last minute."""

    rps: int
    p95: float
    locked: int
    waiting: int
    errors: int
    """Answers 5xx and refusals."""
