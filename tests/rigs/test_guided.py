"""The framers and the control socket under a fuzzer that is guided by coverage, for 20 s in CI."""

from __future__ import annotations

import random

import pytest

from tests.corpora.guided import Coverage, Finding, attempt, hunt
from tests.corpora.targets import TARGETS, Target
from tests.support.needs import IN_CI

SECONDS = (20 if IN_CI else 5) / len(TARGETS)
"""For each target."""


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    seed = random.randrange(1 << 30)
    result = hunt(name, SECONDS, seed)
    assert result.kept > len(TARGETS[name].seeds), f"seed {seed}: nothing new was reached"


def test_what_is_found_can_be_repeated() -> None:
    def picky(data: bytes) -> None:
        assert b"needle" not in data

    with pytest.raises(Finding, match=r"picky\(b'a needle'\): AssertionError"):
        attempt(Coverage(), Target(picky, picky, []), b"a needle")


def test_coverage_tells_ways_apart() -> None:
    coverage, reach = Coverage(), TARGETS["requests"].reach
    get, post = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    assert coverage.of(reach, get) == coverage.of(reach, get)
    assert coverage.of(reach, post) - coverage.of(reach, get)
