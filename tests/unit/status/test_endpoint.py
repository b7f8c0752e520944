"""What requests are told apart by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.status.endpoint import LENGTH, endpoint_of


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/sales/17", "/sales/<n>"),
        ("/sales/17/", "/sales/<n>/"),
        ("/sales/-1.5?full=1", "/sales/<n>"),
        ("/v2/sales", "/v2/sales"),
        ("/day/2026-11-28", "/day/<date>"),
        ("/user/7F3E9A10-0b1c-4d2e-8f3a-123456789abc/x", "/user/<uuid>/x"),
        ("/blob/deadbeef01", "/blob/<hex>"),
        ("/facade", "/facade"),
        ("/deadbeef", "/deadbeef"),
        ("/token/eyJhbGciOi-JIUzI1NiIs_InR5cCI6", "/token/<id>"),
        ("/a-page-whose-name-is-rather-long", "/a-page-whose-name-is-rather-long"),
        ("/1/2/3/4/5/6/7/8", "/<n>/<n>/<n>/<n>/<n>/<n>/..."),
        ("/x\x1b[2Jy", r"/x\x1b[2Jy"),
        ("*", "*"),
    ],
)
def test_what_names_one_thing_is_folded(target: str, path: str) -> None:
    assert endpoint_of("GET", target) == f"GET {path}"


@given(st.text(max_size=50), st.text(max_size=2000))
def test_any_request_has_an_endpoint_that_can_be_shown(method: str, target: str) -> None:
    name = endpoint_of(method, target)
    assert len(name) <= LENGTH
    assert name.isprintable()
