"""What the dispatcher's operations cost with few and many requests in the queue."""

from __future__ import annotations

from collections.abc import Callable
from timeit import timeit

from faucet.proxy.locks import Dispatcher


def operations(waiting: int, dispatcher: Callable[[int], Dispatcher[int, int]] = Dispatcher) -> float:
    """Seconds for adding, cancelling and serving, with `waiting` tickets in the queue. `dispatcher` gets its limit."""
    d = dispatcher(waiting + 10)
    d.add(0, 0)
    lease = d.acquire(-1, 0)
    for ticket in range(waiting):
        d.acquire(ticket, 0)
    newest = waiting

    def step() -> None:
        nonlocal lease, newest
        assert lease is not None
        d.acquire(newest, 0)
        d.acquire(newest + 1, 0)
        d.cancel(newest + 1)
        lease, newest = d.release(lease, 0), newest + 2

    return min(timeit(step, number=3000) for _ in range(7))
