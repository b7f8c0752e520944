"""Leaks: what keeps growing is named, what grows once is not, and the endpoint is the one that it grew with."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.growth import PERIOD, PERIODS, SETTLES, Growth

MIB = 1 << 20
WHOLE = int(SETTLES + (PERIODS + 1) * PERIOD)
"""Seconds after which there is a verdict."""


def watched(
    size: Callable[[int], float], there: Callable[[int], set[str]] = lambda _: set(), until: int = WHOLE
) -> Growth:
    growth = Growth()
    for now in range(0, until, 2):
        growth.see(float(now), int(size(now) * MIB), there(now))
    return growth


def test_steady_growth_is_a_leak() -> None:
    growth = watched(lambda now: 100 + now / 5)
    assert growth.leak is not None
    assert growth.leak.seconds == PERIODS * PERIOD
    assert 50 <= (growth.leak.after - growth.leak.before) / MIB <= 75


@pytest.mark.parametrize(
    "size",
    [
        lambda now: 100,
        lambda now: 100 + now / 100,  # less than is worth a word
        lambda now: 100 + min(now, 300),  # a cache is full
        lambda now: 100 + now % 60 * 5,  # garbage is collected
        lambda now: 100 + (500 if now > 400 else 0),  # a model was loaded
        lambda now: 100 + now / 5 - (30 if now > 450 else 0),  # it falls, too
    ],
    ids=["flat", "slow", "cache", "garbage", "step", "fall"],
)
def test_what_is_no_leak(size: Callable[[int], float]) -> None:
    assert watched(size).leak is None


def test_garbage_on_top_of_a_leak_does_not_hide_it() -> None:
    chance = random.Random(1)
    assert watched(lambda now: 100 + now / 5 + chance.random() * 40).leak is not None


def test_a_leak_that_ends_is_none_any_more() -> None:
    assert watched(lambda now: 100 + min(now, WHOLE) / 5, until=WHOLE + 60).leak is not None
    assert watched(lambda now: 100 + min(now, WHOLE) / 5, until=3 * WHOLE).leak is None


def test_a_slow_leak_is_found_in_a_longer_time() -> None:
    growth = watched(lambda now: 100 + now / 60, until=WHOLE)
    assert growth.leak is None
    growth = watched(lambda now: 100 + now / 60, until=8 * WHOLE)
    assert growth.leak is not None
    assert growth.leak.seconds > PERIODS * PERIOD


def test_the_endpoint_that_it_grew_with() -> None:
    chance = random.Random(2)
    moments = {now: {"GET /ping", *(["GET /report"] if chance.random() < 0.2 else [])} for now in range(0, WHOLE, 2)}
    sizes, size = {}, 100.0
    for now, there in moments.items():
        size += 3 if "GET /report" in there else 0
        sizes[now] = size
    growth = watched(sizes.__getitem__, moments.__getitem__)
    assert growth.leak is not None
    assert growth.leak.endpoint == "GET /report", "not the one that is always there"


def test_no_endpoint_is_named_when_all_may_be_it() -> None:
    growth = watched(lambda now: 100 + now / 5, lambda _: {"GET /a", "GET /b"})
    assert growth.leak is not None
    assert not growth.leak.endpoint
    growth = watched(lambda now: 100 + now / 5, lambda _: {"GET /a"})
    assert growth.leak is not None
    assert growth.leak.endpoint == "GET /a", "there is no other"


@given(st.lists(st.integers(1, 1 << 40), max_size=60))
def test_any_measurements_are_digested(sizes: list[int]) -> None:
    growth = Growth()
    for number, size in enumerate(sizes):
        growth.see(number * PERIOD, size, {f"GET /{number}"})
        assert len(growth._lows) < 2 * PERIODS
