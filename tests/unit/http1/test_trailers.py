"""Trailers: names that mean something for framing, the connection or routing are refused; all others pass."""

from __future__ import annotations

import pytest

from tests.support.framing import read_requests, read_response
from tests.support.splits import splittings

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"

REFUSED = (
    b"Content-Length", b"Transfer-Encoding", b"TE", b"Trailer",
    b"Connection", b"Proxy-Connection", b"Keep-Alive", b"Upgrade", b"HTTP2-Settings",
    b"Host", b"Expect", b"Max-Forwards", b"Proxy-Authorization", b"Proxy-Authenticate",
)  # fmt: skip


@pytest.mark.parametrize("name", [name for known in REFUSED for name in (known, known.lower(), known.upper())])
def test_a_name_of_framing_connection_or_routing_is_refused(name: bytes) -> None:
    trailers = b"X: a\r\n" + name + b": close\r\n\r\n"
    for pieces in splittings(REQUEST + trailers):
        assert read_requests(pieces) == [400]
    for pieces in splittings(RESPONSE + trailers):
        assert read_response(pieces) == 502


@pytest.mark.parametrize(
    "name", [b"Digest", b"Server-Timing", b"grpc-status", b"X-Connection", b"Connections", b"ETag"]
)
def test_any_other_name_passes_byte_for_byte(name: bytes) -> None:
    trailers = name + b": close\r\n\r\n"
    for pieces in splittings(RESPONSE + trailers):
        assert read_response(pieces)[1:] == (RESPONSE + trailers, b"", True)
    for pieces in splittings(REQUEST + trailers):
        assert read_requests(pieces) == [(REQUEST + trailers, b"POST", b"/")]
