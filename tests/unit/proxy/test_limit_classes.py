"""Which limit a request is under."""

from __future__ import annotations

import pytest

from faucet.proxy.limit_classes import LimitClasses, why_expired, why_full
from faucet.proxy.limits import RequestClass
from faucet.settings import ServeSettings, parse_limit

LIMITS = ("GET /report/* at-once=1 queue=5 timeout=10m", "/users/<id> priority=2", "/report/* at-once=3")


def classes(*texts: str) -> LimitClasses[str]:
    limits = tuple(parse_limit(text) for text in texts or LIMITS)
    return LimitClasses(ServeSettings(limit=limits, queue_timeout=30.0), lambda ticket: made[ticket])


made: dict[str, RequestClass[str]] = {}


@pytest.mark.parametrize(
    ("method", "target", "number"),
    [
        (b"GET", b"/report/1", 0),
        (b"GET", b"/report/1?full=1", 0),
        (b"GET", b"http://host/report/1", 0),
        (b"GET", b"/%72eport/1", 0),  # Python's frameworks take that for /report
        (b"POST", b"/report/1", 2),
        (b"GET", b"/users/a%2Fb", 1),  # one part of a path to Plumber
        (b"GET", b"/users/a/b", None),
        (b"GET", b"/?/report/", None),
        (b"OPTIONS", b"*", None),
        (b"GET", b"/", None),
    ],
)
def test_the_first_limit_that_matches_counts(method: bytes, target: bytes, number: int | None) -> None:
    made = classes()
    assert made.of(method, target) is (made.others if number is None else made.limited[number])


def test_what_a_limit_leaves_open_is_as_for_all_others() -> None:
    made = classes()
    report, users, _ = made.limited
    assert (report.places, report.queue_timeout, report.at_once) == (5, 30.0, 1)
    assert (users.places, users.queue_timeout, users.at_once) == (1024, 30.0, float("inf"))


def test_zero_is_no_timeout() -> None:
    assert classes("/a queue-timeout=0").limited[0].queue_timeout is None


def test_clients_are_told_why() -> None:
    made = classes("/a at-once=2 queue=1", "/b queue=1")
    a, b = made.limited
    a.locked = 2
    assert why_full(a) == "At most 2 requests for /a may be served at once, and at most 1 may wait (--limit)."
    assert why_full(b) == "All workers are busy, and at most 1 request for /b may wait (--limit)."
    assert why_full(made.others) == "All workers are busy and the queue is full."
    assert why_expired(a) == "No other request for /a ended within 30 s; at most 2 may be served at once (--limit)."
    assert why_expired(b) == "No worker became free within 30 s."
