"""A mix with one slow endpoint: how long quick requests take with a limit for it, without, and ideally."""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
from collections import deque
from collections.abc import Callable, Sequence

from tests.bench import load, peers
from tests.support.running import python_worker

WORKERS = 4
QUICK, SLOW = 0.05, 1.0
"""Seconds that a request takes a worker."""
QUICK_RATE = 40.0
"""Quick requests a second: two of the workers are busy with them."""
BURST, BETWEEN = 6, 8.0
"""So many people ask for a report at the same time, each so many seconds."""
SECONDS = 32.0

Table = Callable[[str, str, dict[str, list[float]], dict[str, float] | None], None]


def mix() -> list[load.Arrival]:
    """Return when each request comes, and how long it takes."""
    source, when = random.Random(1), 0.0
    arrivals = [
        (BETWEEN * burst + 1.0 + 0.01 * one, SLOW) for burst in range(int(SECONDS / BETWEEN)) for one in range(BURST)
    ]
    while (when := when + source.expovariate(QUICK_RATE)) < SECONDS:
        arrivals.append((when, QUICK))
    return sorted(arrivals)


def ideal(arrivals: Sequence[load.Arrival], servers: int, slow_at_once: int) -> list[float]:
    """The times in an ideal queue: first come, first served, among those that may run."""
    waiting: deque[int] = deque()
    ends: list[tuple[float, int]] = []  # of those that are served
    times = [0.0] * len(arrivals)

    def serve(now: float) -> None:
        slow = sum(arrivals[number][1] == SLOW for _, number in ends)
        for number in list(waiting):
            is_slow = arrivals[number][1] == SLOW
            if len(ends) < servers and (not is_slow or slow < slow_at_once):
                slow += is_slow
                waiting.remove(number)
                heapq.heappush(ends, (now + arrivals[number][1], number))

    def finish(until: float) -> None:
        while ends and ends[0][0] <= until:
            now, number = heapq.heappop(ends)
            times[number] = now - arrivals[number][0]
            serve(now)

    for number, (when, _) in enumerate(arrivals):
        finish(when)
        waiting.append(number)
        serve(when)
    finish(float("inf"))
    return times


def p99(times: Sequence[float], arrivals: Sequence[load.Arrival]) -> list[float]:
    """Milliseconds that 99 of 100 quick requests are faster than."""
    quick = [1000 * taken for taken, (_, service) in zip(times, arrivals, strict=True) if service == QUICK]
    return [statistics.quantiles(quick, n=100)[98]]


def served(arrivals: Sequence[load.Arrival], *options: str) -> list[float]:
    """The times of Faucet with these options."""
    origins = peers.consecutive_ports(WORKERS)
    with peers.faucet("Faucet", origins, "--command", python_worker("blocking"), *options) as ours:
        return asyncio.run(load.arrive(ours.port, arrivals))


def report(table: Table) -> None:
    """Measure and print."""
    arrivals = mix()
    rows = {
        "Faucet": p99(served(arrivals, "--limit", f"GET /{SLOW} at-once=1"), arrivals),
        "ideal queue with that limit, simulated": p99(ideal(arrivals, WORKERS, 1), arrivals),
        "Faucet without a limit": p99(served(arrivals), arrivals),
        "ideal queue without a limit, simulated": p99(ideal(arrivals, WORKERS, WORKERS), arrivals),
    }
    table(
        f"{QUICK * 1000:g} ms on {WORKERS} workers, and {BURST} reports of {SLOW:g} s each {BETWEEN:g} s, one at once",
        "p99 ms of the quick ones",
        rows,
        {"ideal queue with that limit, simulated": 1.2},
    )
