"""Pauses between retries: their growth, their bounds, and that no number of failures is too many."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.backoff import Backoff
from faucet.workers.causes import Cause, Reason
from faucet.workers.slot import Slot


def test_the_pause_doubles_up_to_the_limit() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.pause(failures) for failures in range(6)] == [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_jitter_moves_a_pause_both_ways() -> None:
    backoff = Backoff(1.0, 8.0, jitter=0.25)
    assert [backoff.pause(2, lambda share=share: share) for share in (0.0, 0.5, 1.0)] == [1.5, 2.0, 2.5]


@given(
    st.integers(min_value=1, max_value=10**12),
    st.floats(min_value=1e-300, max_value=1e6),
    st.floats(min_value=1.0, max_value=1e6),
    st.floats(min_value=0.0, max_value=1.0),
    st.floats(min_value=0.0, max_value=1.0),
)
def test_any_number_of_failures_gives_a_pause_within_its_bounds(
    failures: int, first: float, limit: float, jitter: float, share: float
) -> None:
    pause = Backoff(first, limit, jitter).pause(failures, lambda: share)
    assert 0.0 <= pause <= limit * (1 + jitter)


@pytest.mark.parametrize("failures", [2, 1_025, 1_026, 1_027, 10**6])
async def test_a_worker_that_has_crashed_so_often_is_still_started_again(failures: int) -> None:
    """The slot itself, with an instance that ends at once: it must get to its next one, and end when it has to."""
    context = SimpleNamespace(proxy=SimpleNamespace(stats=SimpleNamespace(count_restart=lambda reason: None)))
    place = Slot(1, cast("Any", context), cast("Any", None))
    place.failures = failures
    lives = 0
    again = asyncio.Event()

    async def one_life() -> Any:
        nonlocal lives
        lives += 1
        place.failures += 1
        if lives == 2:
            again.set()
        return SimpleNamespace(reason=Reason.EXIT)

    place._one_instance = one_life  # type: ignore[method-assign]
    living = asyncio.ensure_future(place.live())
    async with asyncio.timeout(5):
        while place.next_try is None and not living.done():
            await asyncio.sleep(0)
        place.try_now()
        waiting = asyncio.ensure_future(again.wait())
        await asyncio.wait([waiting, living], return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done(), "it was given up"
        place.give_up()
        await living


async def test_a_bug_in_a_place_leaves_nobody_waiting_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong between two lives, the place tries again, and whoever waits for it is answered."""
    monkeypatch.setattr("faucet.workers.slot.BACKOFF", Backoff(0.001, 0.001))
    context = SimpleNamespace()  # has no proxy: counting the restart fails
    place = Slot(1, cast("Any", context), cast("Any", None))
    lives: asyncio.Queue[None] = asyncio.Queue()

    async def one_life() -> Any:
        lives.put_nowait(None)
        return SimpleNamespace(reason=Reason.EXIT)

    place._one_instance = one_life  # type: ignore[method-assign]
    living = asyncio.ensure_future(place.live())
    async with asyncio.timeout(5):
        for _ in range(3):
            await lives.get()
        place.give_up()
        await living
        await place.replace(Cause(Reason.RESTART, "a test"))  # of a place that was given up: nothing, and at once
