"""The content of a response, whatever its framing and however it is split; h11 is asked, too."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.http1 import BadResponse, ResponseContent, parse_response

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def content_of(message: bytes, cuts: list[int], method: bytes = b"GET") -> tuple[bytes, ResponseContent]:
    """The content of `message` when what is behind its head comes in pieces that end at `cuts`."""
    parsed = parse_response(message)
    assert parsed is not None
    head, body = parsed
    content = ResponseContent(head, method)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    found = b""
    for start, end in itertools.pairwise(edges):
        if content.done:
            break
        found += content.feed(body[start:end])
    return found, content


def h11_content(message: bytes) -> bytes:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(message)
    found = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            found += bytes(event.data)
    return found


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.sampled_from([b"", b";a", b'; a = "b c"']),
    st.sampled_from([b"", b"X-Sum: 1\r\nY: 2\r\n"]),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_chunks(chunks: list[bytes], extension: bytes, trailer: bytes, cuts: list[int]) -> None:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    message = CHUNKED + body + b"0\r\n" + trailer + b"\r\n"
    found, content = content_of(message, cuts)
    assert (found, content.done) == (b"".join(chunks), True)
    assert h11_content(message) == found


@given(st.binary(max_size=300), st.binary(max_size=5), st.lists(st.integers(0, 1000), max_size=10))
def test_a_length(body: bytes, behind: bytes, cuts: list[int]) -> None:
    message = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    found, content = content_of(message + behind, cuts)
    assert (found, content.done) == (body, True)


def test_until_the_end_of_the_connection() -> None:
    found, content = content_of(HEAD + b"\r\nabc", [1])
    assert (found, content.done, content.ends_at_eof()) == (b"abc", False, True)


def test_what_is_cut_off_does_not_look_whole() -> None:
    found, content = content_of(CHUNKED + b"5\r\nhello\r\n", [])
    assert (found, content.done, content.ends_at_eof()) == (b"hello", False, False)
    found, content = content_of(HEAD + b"Content-Length: 6\r\n\r\nhello", [])
    assert (found, content.done, content.ends_at_eof()) == (b"hello", False, False)


def test_no_content() -> None:
    assert content_of(CHUNKED, [], method=b"HEAD")[1].done
    assert content_of(b"HTTP/1.1 204 No Content\r\n\r\n", [])[1].done


def test_malformed_chunks() -> None:
    with pytest.raises(BadResponse, match="size in hexadecimal"):
        content_of(CHUNKED + b"five\r\nhello\r\n0\r\n\r\n", [])
