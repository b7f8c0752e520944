"""Limits for endpoints: how they are written, and which requests they match."""

from __future__ import annotations

import re
from time import perf_counter

import pytest

from faucet.settings import Limit, differing, parse_limit
from faucet.settings.limit import pattern_of


def test_all_that_a_limit_can_say() -> None:
    text = "GET /report/* at-once=1 queue=50 queue-timeout=20s timeout=10m priority=-1"
    limit = parse_limit(text)
    assert limit == Limit("GET /report/*", 1, 50, 20.0, 600.0, -1)
    assert str(limit) == text
    assert parse_limit(str(limit)) == limit


def test_as_in_toml_with_underscores_and_in_any_order() -> None:
    assert parse_limit("at_once=2 /a=b queue_timeout=0") == Limit("/a=b", at_once=2, queue_timeout=0.0)
    assert str(parse_limit("/a queue=0 timeout=0")) == "/a queue=0 timeout=0"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected a path"),
        ("report at-once=1", "expected a path"),
        ("get /report at-once=1", "expected a path"),
        ("/report", "limits nothing"),
        ("/report?x=1 at-once=1", "the query does not count"),
        ("/report/<id at-once=1", "one whole part"),
        ("/report/a<id> at-once=1", "one whole part"),
        ("/report at-ones=1", "did you mean at-once"),
        ("/report workers=1", "expected at-once, queue"),
        ("/report at-once=0", "at-once=0: expected a whole number from 1"),
        ("/report at-once=1.5", "expected a whole number from 1"),
        ("/report at-once=1 at_once=2", "twice"),
        ("/report timeout=soon", "timeout=soon: invalid duration 'soon'"),
        ("/report priority=10", "from -9 to 9"),
    ],
)
def test_what_is_no_limit(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parse_limit(text)


def test_the_same_requests_are_limited_once() -> None:
    one, other = parse_limit("/a at-once=1"), parse_limit("/a queue=1")
    with pytest.raises(ValueError, match="/a is limited twice"):
        differing((one, other))


@pytest.mark.parametrize(
    ("match", "request_line", "matches"),
    [
        ("GET /report/*", "GET /report/", True),
        ("GET /report/*", "GET /report/a/b", True),
        ("GET /report/*", "HEAD /report/a", True),
        ("GET /report/*", "POST /report/a", False),
        ("GET /report/*", "GET /report", False),
        ("/report/*", "POST /report/a", True),
        ("/report", "GET /report", True),
        ("/report", "GET /report/", False),
        ("/users/<id>/files", "GET /users/7/files", True),
        ("/users/<id>/files", "GET /users/7/8/files", False),
        ("/users/<id>", "GET /users/", False),
        ("/*.csv", "GET /a/b.csv", True),
        ("/a*b*c", "GET /a-b-b-c", True),
        ("/a*b*c", "GET /a-c-b", False),
        ("/a.c", "GET /abc", False),
        ("/ü", "GET /ü", True),
        ("/*", "GET /a\nb", True),
    ],
)
def test_which_requests_it_is_for(match: str, request_line: str, matches: bool) -> None:
    assert (re.fullmatch(pattern_of(match), request_line.encode()) is not None) == matches


@pytest.mark.parametrize("match", ["/a*a*a*a*a*b", "/*/<x>/<y>/b*c", "/*a*/<x>/*b"])
@pytest.mark.parametrize("path", ["a" * 65_000, "/a" * 32_000, "/" * 65_000])
def test_no_path_makes_it_slow(match: str, path: str) -> None:
    """A client chooses the path; with ordinary stars of a regular expression this would take minutes."""
    began = perf_counter()
    re.fullmatch(pattern_of(match), b"GET /" + path.encode())
    assert perf_counter() - began < 1.0
