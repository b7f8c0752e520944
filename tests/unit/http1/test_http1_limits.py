"""Limits of requests: the longest that passes, one byte more, and the time that it takes to read them."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from faucet.http1 import BadRequest, parse_request
from faucet.http1.body import ChunkedBody
from faucet.http1.limits import CHUNK_LINE_LIMIT, HEAD_LIMIT, LARGEST_LENGTH, TRAILER_LIMIT
from tests.support.framing import chunked, get, post, read_requests
from tests.support.splits import splittings


def test_the_longest_head_passes_and_one_byte_more_does_not() -> None:
    longest = get(b"X: " + b"a" * (HEAD_LIMIT - len(get(b"X: "))))
    assert len(longest) == HEAD_LIMIT
    for pieces in ([longest], [longest[:-1], longest[-1:]]):
        assert read_requests(pieces)[0][0] == longest
    for pieces in ([longest.replace(b"X: ", b"X: a")], [longest.replace(b"X: ", b"X: a")[:-1], b"\n"]):
        assert read_requests(pieces) == [431]


def test_the_longest_chunk_line_passes_and_one_byte_more_does_not() -> None:
    """Behind another chunk, and in pieces that do and do not end where the limit is."""
    longest = b"5;" + b"a" * (CHUNK_LINE_LIMIT - 4) + b"\r\n"
    for size, outcome in ((CHUNK_LINE_LIMIT, True), (CHUNK_LINE_LIMIT + 1, False)):
        line = longest.replace(b";", b";" + b"a" * (size - CHUNK_LINE_LIMIT))
        assert len(line) == size
        message = chunked(b"5\r\nhello\r\n" + line + b"hello\r\n0\r\n\r\n")
        at = message.index(line)
        for cut in (0, at, at + 1, at + CHUNK_LINE_LIMIT - 1, at + CHUNK_LINE_LIMIT):
            results = read_requests([message[:cut], message[cut:]])
            assert results == ([(message, b"POST", b"/")] if outcome else [400]), cut - at


def test_many_chunks_take_several_turns() -> None:
    body, data = ChunkedBody(BadRequest, turn=2), b"1\r\na\r\n" * 3 + b"0\r\n\r\n"
    first = body.feed(data)
    assert data[first:] == b"a\r\n1\r\na\r\n0\r\n\r\n"
    second = body.feed(data[first:])
    assert data[first + second :] == b"\r\n"
    assert not body.done
    assert body.feed(b"\r\n") == 2
    assert body.done


def test_the_longest_trailer_section_passes_and_one_byte_more_does_not() -> None:
    for size, outcome in ((TRAILER_LIMIT, True), (TRAILER_LIMIT + 1, False)):
        section = b"X: a\r\nY: " + b"b" * (size - len(b"X: a\r\nY: \r\n\r\n")) + b"\r\n\r\n"
        assert len(section) == size
        message = chunked(b"0\r\n" + section)
        for pieces in ([message], [message[:-1], b"\n"], [message[:-3], message[-3:]]):
            assert read_requests(pieces) == ([(message, b"POST", b"/")] if outcome else [431])


def test_the_largest_body_and_the_largest_chunk() -> None:
    """Of which the bytes cannot be sent here."""
    parsed = parse_request(post(b"", b"Content-Length: %d" % LARGEST_LENGTH))
    assert parsed is not None
    assert parsed[0].fields.length == LARGEST_LENGTH
    assert read_requests([chunked(b"%x\r\n" % LARGEST_LENGTH)]) == []
    assert read_requests([chunked(b"%x\r\n" % (LARGEST_LENGTH + 1))]) == [400]


def ten_chunks(extension: bytes) -> bytes:
    return (b"1" + extension + b"\r\na\r\n") * 10 + b"0\r\n\r\n"


def seconds_to_read(pieces: list[bytes]) -> float:
    """CPU time to read requests, the best of three."""
    times = []
    for _ in range(3):
        began = process_time()
        read_requests(pieces)
        times.append(process_time() - began)
    return min(times)


@pytest.mark.quiet
@pytest.mark.parametrize(
    "worst",
    [
        lambda size: [b"GET /" + b"a" * size],
        lambda size: [b"GET / HTTP/1.1\r\nX: " + b"a" * size],
        lambda size: [b"GET / HTTP/1.1\r\n" + b"X:\r\n" * min(size // 4, 100)],
        lambda size: [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + b", " * (size // 2) + b"\r\n\r\n"],
        lambda size: [b"GET / HTTP/1.1\r\nHost: " + b"a" * size + b"/\r\n\r\n"],
        lambda size: [b"GET http://" + b"a" * size + b"@ HTTP/1.1\r\nHost: a\r\n\r\n"],
        lambda size: [b"GET / HTTP/1.1\r\nX" + b"a" * size + b" : a\r\n\r\n"],
        lambda size: [bytes([octet]) for octet in b"GET /" + b"a" * size],
        lambda size: [bytes([octet]) for octet in b"GET / HTTP/1.1\r\nX: " + b"a" * size],
        lambda size: [bytes([octet]) for octet in chunked(b"0\r\nX: " + b"a" * min(size // 2, TRAILER_LIMIT))],
        lambda size: [(b"\r\n" + get()) * (size // 20)],
        lambda size: [chunked(b"1\r\na\r\n" * (size // 6))],
        lambda size: [chunked(ten_chunks(b";" + b"a" * (size // 16)))],
        lambda size: [chunked(ten_chunks(b";a" * (size // 32)))],
        lambda size: [chunked(ten_chunks(b";a" + b" " * (size // 16) + b";b"))],
        lambda size: [chunked(ten_chunks(b";a" + b" " * (size // 16) + b"!"))],
        lambda size: [chunked(ten_chunks(b';a="' + b'\\"' * (size // 32) + b'"'))],
        lambda size: [chunked(ten_chunks(b';a="' + b'\\"' * (size // 32)))],
    ],
)
def test_no_input_takes_more_than_linear_time(worst: Callable[[int], list[bytes]]) -> None:
    """1x, 2x and 4x: a quadratic reader would take 16 times as long for the last."""
    sizes = (4_000, 8_000, 16_000) if len(worst(1000)) > 1 else (15_000, 30_000, 60_000)
    for _ in range(5):  # a machine that does something else slows down now one of them and now the other
        once, _, fourfold = (seconds_to_read(worst(size)) for size in sizes)
        if fourfold < 8 * once + 0.002:
            return
    raise AssertionError((once, fourfold))


def test_max_body() -> None:
    too_long = [post(b"123456", b"Content-Length: 6"), chunked(b"3\r\n123\r\n3\r\n456\r\n0\r\n\r\n")]
    for message in too_long:
        for pieces in splittings(message):
            assert read_requests(pieces, max_body=5) == [413]
            assert read_requests(pieces, max_body=6)[0][0] == message
