"""Estimates of how long queued requests will wait, from the locks that are held and from recent service times.

All functions are pure. The client that shows the queue computes the estimates, not the service. A request is expected
to take the mean time of its endpoint. A request that already holds a lock is compared with those that took longer than
it has taken so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import inf
from typing import NamedTuple

from faucet.status.columns import format_age
from faucet.status.endpoint import endpoint_of
from faucet.status.snapshot import LimitRow, RequestRow, WaitingRow, WorkerRow
from faucet.text import visible
from faucet.units import format_duration

Took = Mapping[str, Sequence[float]]
"""The latest service times of each endpoint, in seconds."""


class Held(NamedTuple):
    """A lock that is held."""

    endpoint: str
    seconds: float
    """How long the lock has been held."""
    goes_on: bool = True
    """Whether the worker takes another request afterwards."""


class Queued(NamedTuple):
    """A request in the queue."""

    endpoint: str
    waited: float
    """Seconds in the queue so far."""
    patience: float = inf
    """Seconds in the queue after which the request gets 503."""


class Prospect(NamedTuple):
    """A row of the queue with its estimates. Durations are in seconds."""

    row: WaitingRow
    waited: float
    refused: float
    """Time until the request gets 503; infinite: it has no queue timeout."""
    start: float | None
    """Time until the request gets a worker; infinite: it gets 503 before that. None: no estimate."""
    same_client: int
    """Number of rows with the same client."""


def took_by_endpoint(requests: Iterable[RequestRow]) -> dict[str, list[float]]:
    """Return the service times of finished requests by endpoint."""
    took: dict[str, list[float]] = {}
    for row in requests:
        if row.worker:
            took.setdefault(endpoint_of(row.method, row.target), []).append(row.service)
    return took


def starts(held: Sequence[Held], free: int, queued: Sequence[Queued], took: Took) -> list[float | None]:
    """Return when each queued request gets a worker, in seconds from now. `free` is the number of idle workers.

    Infinite: the request gets 503 before that, by its queue timeout. None: no estimate.
    """
    every = [seconds for times in took.values() for seconds in times]
    ahead = [0.0] * free + [_left(lock, took.get(lock.endpoint, every)) for lock in held if lock.goes_on]
    if not ahead or not every:
        return [None] * len(queued)
    heapify(ahead)
    usual = {endpoint: _mean(times) for endpoint, times in took.items() if times}
    mean = _mean(every)
    found: list[float | None] = []
    for request in queued:
        start = ahead[0]
        if request.waited + start >= request.patience:
            found.append(inf)
            continue
        heapreplace(ahead, start + usual.get(request.endpoint, mean))
        found.append(start)
    return found


def _mean(times: Sequence[float]) -> float:
    return sum(times) / len(times)


def _left(lock: Held, times: Sequence[float]) -> float:
    """Return the remaining seconds of a lock. If it was already held longer than any before: the same time again."""
    longer = [seconds for seconds in times if seconds > lock.seconds]
    return _mean(longer) - lock.seconds if longer else lock.seconds


@dataclass(frozen=True)
class Outlook:
    """The queue with its estimates."""

    rows: list[Prospect]
    waiting: int
    """Number of queued requests, including those without a row."""
    in_the_way: list[tuple[int, str]]
    """Locks held by endpoint, as (count, endpoint), the largest count first."""
    empty_in: float | None
    """Seconds until the last request that is not refused gets a worker; None: no estimate, or all are refused."""
    refused: int
    """Number of requests that are expected to get 503."""

    def summary(self, plain: bool) -> list[tuple[str, bool]]:
        """Return the main figures as phrases, each with whether it is alarming. With `plain`, in ASCII only."""
        if not self.rows:
            return []
        first = self.rows[0]
        phrases = [(f"the first waits {seconds_text(first.waited)}{self._until(first)}", False)]
        if self.refused:
            soonest = min(row.refused for row in self.rows)
            phrases.append((f"about {self.refused} will get 503, the first in {seconds_text(soonest)}", True))
        if self.empty_in is not None:
            phrases.append((f"empty in about {seconds_text(self.empty_in)}", False))
        times = "x" if plain else "×"
        held = ", ".join(f"{count} {times} {endpoint}" for count, endpoint in self.in_the_way[:3])
        phrases.append((f"held up by {held}" if held else "no worker is in service", not held))
        return phrases

    def _until(self, first: Prospect) -> str:
        patience = first.row.patience
        return f" of {format_duration(patience)}, then 503" if patience and not self.refused else ""


def outlook(
    queue: Sequence[WaitingRow], workers: Iterable[WorkerRow], limits: Iterable[LimitRow], waiting: int, took: Took,
    now: float,
) -> Outlook:  # fmt: skip
    """Return the estimates for `queue`. Its rows may be only the first of all `waiting` requests."""
    rows = list(workers)
    held = [Held(_endpoint(row.request), now - row.locked, row.state == "busy") for row in rows if row.locked]
    queued = [Queued(_endpoint(row.request), max(now - row.since, 0.0), row.patience or inf) for row in queue]
    free = sum(row.state == "ready" for row in rows)
    runnable = [request for row, request in zip(queue, queued, strict=True) if not row.limit]
    beyond = [queued[-1]._replace(endpoint="")] * (waiting - len(queued)) if queued else []
    found = starts(held, free, [*runnable, *beyond], took)
    others = iter(found)
    limited = _limited(queue, queued, {limit.match: limit for limit in limits})
    expected = [limited[row.number] if row.limit else next(others) for row in queue] + list(others)
    clients = Counter(row.client for row in queue)
    served = [start for start in expected if start is not None and start < inf]
    return Outlook(
        rows=[
            Prospect(row, request.waited, max(request.patience - request.waited, 0.0), start, clients[row.client])
            for row, request, start in zip(queue, queued, expected, strict=False)
        ],
        waiting=max(waiting, len(queue)),
        in_the_way=[(count, name) for name, count in Counter(lock.endpoint for lock in held).most_common()],
        empty_in=max(served, default=None),
        refused=sum(start == inf for start in expected),
    )  # fmt: skip


def _limited(
    queue: Sequence[WaitingRow], queued: Sequence[Queued], limits: Mapping[str, LimitRow]
) -> dict[int, float | None]:
    """Return when each request that is held back by a limit gets a worker, in seconds from now, by request number."""
    ahead: Counter[str] = Counter()
    found: dict[int, float | None] = {}
    for row, request in zip(queue, queued, strict=True):
        limit = limits.get(row.limit)
        if row.limit and limit is not None and limit.held and limit.at_once:
            ahead[row.limit] += 1
            start = ahead[row.limit] * limit.held / limit.at_once
            found[row.number] = inf if request.waited + start >= request.patience else start
        elif row.limit:
            found[row.number] = None
    return found


def _endpoint(request: str) -> str:
    method, _, target = request.partition(" ")
    return endpoint_of(method, target)


def seconds_text(seconds: float) -> str:
    """Return a duration for a column: `0.4s`, `58.0s`, `2m30s`. More digits would pretend to be exact."""
    return f"{seconds:.1f}s" if seconds < 60 else format_age(seconds)


def start_text(row: Prospect) -> str:
    """Return when a request is expected to get a worker: `~4.0s`, `now`, `503` (never) or `?`."""
    if row.start is None:
        return "?"
    if row.start == inf:
        return "503"
    return "now" if row.start < 0.05 else f"~{seconds_text(row.start)}"


def refused_text(row: Prospect) -> str:
    """Return the time until a request gets 503; `-` if it has no queue timeout."""
    return "-" if row.refused == inf else seconds_text(row.refused)


def client_text(row: Prospect, plain: bool) -> str:
    """Return the client of a request, and how many of the rows shown belong to that client."""
    client = visible(row.row.client)
    return f"{client} {'x' if plain else '×'}{row.same_client}" if row.same_client > 1 else client
