"""Deadlines for many at the cost of one timer."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from faucet.proxy.deadlines import Timeouts

pytestmark = pytest.mark.quiet


async def test_each_expires_in_its_time_and_in_order() -> None:
    expired: list[tuple[str, float]] = []
    began = monotonic()
    timeouts: Timeouts[str] = Timeouts(
        asyncio.get_running_loop(), 0.4, lambda item: expired.append((item, monotonic() - began))
    )
    for item in "abc":
        timeouts.touch(item)
        await asyncio.sleep(0.08)
    timeouts.touch("a")
    timeouts.discard("b")
    timeouts.discard("x")
    await asyncio.sleep(0.6)
    assert [item for item, _ in expired] == ["c", "a"]
    assert all(0.4 <= when < 0.78 for _, when in expired)
    assert len(timeouts) == 0


async def test_a_touch_while_others_expire_delays_nobody() -> None:
    expired: list[float] = []
    began = monotonic()

    def on_expiry(item: str) -> None:
        expired.append(monotonic() - began)
        if item == "a":
            timeouts.touch("again")

    timeouts: Timeouts[str] = Timeouts(asyncio.get_running_loop(), 0.4, on_expiry)
    timeouts.touch("a")
    await asyncio.sleep(0.2)
    timeouts.touch("b")
    await asyncio.sleep(1)
    a, b, again = expired
    assert a < b < again
    assert b < 0.78


async def test_zero_is_never_and_close_forgets() -> None:
    expired: list[str] = []
    never: Timeouts[str] = Timeouts(asyncio.get_running_loop(), 0, expired.append)
    closed: Timeouts[str] = Timeouts(asyncio.get_running_loop(), 0.01, expired.append)
    never.touch("a")
    closed.touch("b")
    closed.close()
    await asyncio.sleep(0.05)
    assert expired == []
