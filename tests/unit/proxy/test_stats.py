"""The numbers: counted together, complete when asked for, and what is estimated from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faucet.proxy.stats import BUCKET_BOUNDS, Histogram, Stats
from tests.support.records import RECORD


def test_numbers_are_counted_together_and_complete_when_asked_for() -> None:
    stats = Stats()
    served = replace(RECORD, worker="1", status=200, service=0.002, waited=0.001)
    for _ in range(10):
        stats.add(served)
        stats.hold(0.003)
    stats.add(RECORD)
    stats.add(replace(RECORD, worker="1", status=799))
    for _ in range(2):  # counted once, however often somebody asks
        stats.settle()
        assert (stats.exchanges, stats.refused_requests, stats.errors, len(stats.recent)) == (12, 1, 1, 12)
        assert stats.by_class == [0, 0, 10, 0, 0, 2]
        assert (stats.waited.total, stats.service.total, stats.held.total) == (12, 11, 10)
        assert stats.held.sum == pytest.approx(0.03)
        assert (stats.workers["1"].requests, stats.workers["1"].errors) == (11, 1)


def test_histogram() -> None:
    histogram = Histogram()
    histogram.add([milliseconds / 1000 for milliseconds in range(1, 101)])
    histogram.add([10_000])
    assert (histogram.total, histogram.counts[-1]) == (101, 1)
    assert sum(count for count, bound in zip(histogram.counts, BUCKET_BOUNDS, strict=False) if bound < 0.05) <= 50


def test_times_are_taken_once() -> None:
    stats = Stats()
    for worker, service in (("1", 0.5), ("2", 0.25), ("1", 0.75), ("", 0.0)):
        stats.add(replace(RECORD, worker=worker, service=service, waited=0.1))
    stats.settle()
    assert stats.take_times() == ({"1": [0.5, 0.75], "2": [0.25]}, [0.1] * 4)
    assert stats.take_times() == ({}, [])


def test_retry_after_is_from_what_was_measured() -> None:
    stats = Stats()
    for _ in range(200):
        stats.add(replace(RECORD, worker="1", service=2.0))
    stats.add(RECORD)
    stats.settle()
    assert stats.expected_wait(waiting=9, workers=4) == pytest.approx(5.0)
    assert stats.by_class[5] == 201
    assert stats.expected_wait(0, 0) == pytest.approx(2.0)


def test_retry_after_is_right_from_the_first_request_on() -> None:
    stats = Stats()
    assert stats.expected_wait(waiting=3, workers=2, held=7.0) == pytest.approx(14.0)
    stats.add(replace(RECORD, worker="1", service=8.0))
    stats.settle()
    assert stats.expected_wait(waiting=3, workers=2, held=1.0) == pytest.approx(16.0)
