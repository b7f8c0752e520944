"""What the dispatcher's operations cost with few and many requests in the queue."""

from __future__ import annotations

from timeit import timeit

from faucet.proxy.locks import Dispatcher


def operations(waiting: int) -> float:
    """Seconds for adding, cancelling and serving, with `waiting` tickets in the queue."""
    d: Dispatcher[int, int] = Dispatcher(waiting + 10)
    d.add(0)
    d.acquire(-1, 0)
    for ticket in range(waiting):
        d.acquire(ticket, 0)
    holder, newest = -1, waiting

    def step() -> None:
        nonlocal holder, newest
        d.acquire(newest, 0)
        d.acquire(newest + 1, 0)
        d.cancel(newest + 1)
        grant = d.release(0, holder)
        assert grant is not None
        holder, newest = grant.ticket, newest + 2

    return min(timeit(step, number=3000) for _ in range(7))
