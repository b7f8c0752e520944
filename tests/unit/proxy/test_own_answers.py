"""The answers that are Faucet's own, and the date in them."""

from __future__ import annotations

import time
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.http1.dates import http_date
from faucet.proxy.error_responses import answer


@given(st.integers(0, 253_402_300_799))
def test_dates_are_those_of_http(seconds: int) -> None:
    assert http_date(seconds) == formatdate(seconds, usegmt=True)


def test_a_date_is_formatted_once_a_second() -> None:
    http_date.cache_clear()
    for seconds in (784111777, 784111777, 784111777, 784111778):
        http_date(seconds)
    assert http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert http_date.cache_info()[:2] == (2, 3), "hits and misses"


@pytest.mark.parametrize("status", [400, 408, 413, 417, 500, 501, 502, 503, 504, 505])
def test_an_answer_of_our_own_says_when_it_was_made(status: int) -> None:
    """RFC 9110, 6.6.1."""
    for method in (b"GET", b"HEAD"):
        before = int(time.time())
        head, _, content = answer(status, "x", method=method).partition(b"\r\n\r\n")
        date = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])[b"Date"]
        assert before <= parsedate_to_datetime(date.decode()).timestamp() <= time.time()
        assert bool(content) is (method == b"GET")
