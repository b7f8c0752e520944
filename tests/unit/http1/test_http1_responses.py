"""Responses: every row of the rules, each in one piece, byte by byte, and in other splits."""

from __future__ import annotations

import pytest

from faucet.http1 import BadResponse, ResponseReader, parse_response
from faucet.http1.limits import HEAD_LIMIT
from tests.support.framing import read_response
from tests.support.splits import splittings


def ok(*fields: bytes, body: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([line, *fields]) + b"\r\n\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

REFUSED = [
    ("no version", ok(line=b"200 OK")),
    ("HTTP/2", ok(line=b"HTTP/2 200 OK")),
    ("two digits", ok(line=b"HTTP/1.1 20 OK")),
    ("four digits", ok(line=b"HTTP/1.1 2000 OK")),
    ("status 0xx", ok(line=b"HTTP/1.1 099 OK")),
    ("two blanks", ok(line=b"HTTP/1.1  200 OK")),
    ("control in the reason", ok(line=b"HTTP/1.1 200 O\x01K")),
    ("empty line first", b"\r\n" + ok()),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("bare CR", ok(b"X: a\rb")),
    ("obs-fold", ok(b"X: a", b" b")),
    ("blank before the colon", ok(b"Content-Length : 5", body=b"hello")),
    ("head too long", ok(b"X: " + b"a" * HEAD_LIMIT)),
    ("two lengths", ok(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    ("length list", ok(b"Content-Length: 5, 5", body=b"hello")),
    ("length no number", ok(b"Content-Length: x")),
    ("length as R writes numbers", ok(b"Content-Length: 3e+05")),
    ("length with a vertical tab", ok(b"Content-Length: 5\x0b", body=b"hello")),
    ("length with a tab within", ok(b"Content-Length: 5\t5", body=b"hello")),
    ("length empty", ok(b"Content-Length: \t")),
    ("length of 64 bits", ok(b"Content-Length: 9223372036854775808")),
    ("HTTP/1.10", ok(line=b"HTTP/1.10 200 OK")),
    ("HTTP/1", ok(line=b"HTTP/1 200 OK")),
    ("chunk extension without a name", ok(CHUNKED, body=b"5;\r\nhello\r\n0\r\n\r\n")),
    ("chunk extension with an open quote", ok(CHUNKED, body=b'5;a="b\r\nhello\r\n0\r\n\r\n')),
    ("both", ok(b"Content-Length: 5", CHUNKED, body=CHUNKS)),
    ("not chunked last", ok(b"Transfer-Encoding: chunked, gzip")),
    ("not chunked at all", ok(b"Transfer-Encoding: gzip")),
    ("chunked twice", ok(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    ("coding with an open quote", ok(b'Transfer-Encoding: "a,chunked')),
    ("coding with a parameter", ok(b"Transfer-Encoding: chunked;x=1, chunked")),
    ("empty coding", ok(b"Transfer-Encoding: ,chunked")),
    ("chunked in 1.0", ok(CHUNKED, line=b"HTTP/1.0 200 OK")),
    ("bad chunk", ok(CHUNKED, body=b"x\r\n")),
    ("bad chunk end", ok(CHUNKED, body=b"1\r\nab\r\n")),
    ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n"),
]

ACCEPTED = [
    ("length", ok(b"Content-Length: 5"), b"GET", b"hello", b"", True),
    ("length 0", ok(b"Content-Length: 0"), b"GET", b"", b"", True),
    ("chunked", ok(CHUNKED), b"GET", CHUNKS, b"", True),
    ("gzip, chunked", ok(b"Transfer-Encoding: gzip, chunked"), b"GET", CHUNKS, b"", True),
    ("gzip and chunked", ok(b"Transfer-Encoding: gzip", CHUNKED), b"GET", CHUNKS, b"", True),
    ("blanks around codings", ok(b"Transfer-Encoding:\tgzip ,\tCHUNKED \t"), b"GET", CHUNKS, b"", True),
    ("length and a tab", ok(b"Content-Length: \t5 \t"), b"GET", b"hello", b"", True),
    ("HTTP/1.2", ok(b"Content-Length: 5", line=b"HTTP/1.2 200 OK"), b"GET", b"hello", b"", True),
    ("chunks in HTTP/1.9", ok(CHUNKED, line=b"HTTP/1.9 200 OK"), b"GET", CHUNKS, b"", True),
    ("chunk extensions", ok(CHUNKED), b"GET", b'5;a;b = "c;\\""\r\nhello\r\n0\r\n\r\n', b"", True),
    ("until close", ok(), b"GET", b"anything", b"", False),
    ("too short", ok(b"Content-Length: 9"), b"GET", b"hello", b"", False),
    ("no last chunk", ok(CHUNKED), b"GET", b"5\r\nhello\r\n", b"", False),
    ("no reason", ok(b"Content-Length: 0", line=b"HTTP/1.1 200"), b"GET", b"", b"", True),
    ("empty reason", ok(b"Content-Length: 0", line=b"HTTP/1.1 200 "), b"GET", b"", b"", True),
    ("8 bit reason", ok(b"Content-Length: 0", line=b"HTTP/1.0 200 \xe4"), b"GET", b"", b"", True),
    ("204", ok(line=b"HTTP/1.1 204 No Content"), b"GET", b"", b"x", True),
    ("304 with a length", ok(b"Content-Length: 5", line=b"HTTP/1.1 304 Not Modified"), b"GET", b"", b"", True),
    ("304 in chunks", ok(CHUNKED, line=b"HTTP/1.1 304 Not Modified"), b"GET", b"", CHUNKS, True),
    ("HEAD in chunks", ok(CHUNKED), b"HEAD", b"", b"", True),
    ("HEAD", ok(b"Content-Length: 5"), b"HEAD", b"", b"", True),
    ("HEAD answered with a body, as Plumber does", ok(b"Content-Length: 5"), b"HEAD", b"", b"hello", True),
    ("garbage behind", ok(b"Content-Length: 5"), b"GET", b"hello", b"HTTP/1.1 200 OK\r\n", True),
    ("garbage behind chunks", ok(CHUNKED), b"GET", CHUNKS, b"0\r\n\r\n", True),
]


@pytest.mark.parametrize("message", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(message: bytes) -> None:
    for pieces in splittings(message):
        assert read_response(pieces) == 502


@pytest.mark.parametrize(
    ("head", "method", "body", "behind", "done"), [row[1:] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED]
)
def test_accepted_and_relayed_byte_for_byte(head: bytes, method: bytes, body: bytes, behind: bytes, done: bool) -> None:
    for pieces in splittings(head + body + behind):
        status, relayed, left, complete = read_response(pieces, method)
        assert (relayed, left, complete) == (head + body, behind, done)
        assert str(status).encode() in head


@pytest.mark.parametrize(
    ("method", "message", "follows"),
    [
        (b"GET", ok(b"Content-Length: 5"), False),
        (b"GET", ok(CHUNKED), False),
        (b"GET", ok(b"Content-Length: 5", line=b"HTTP/1.1 304 Not Modified"), True),
        (b"GET", ok(CHUNKED, line=b"HTTP/1.1 204 No Content"), True),
        (b"GET", ok(b"Content-Length: 0", line=b"HTTP/1.1 204 No Content"), True),
        (b"GET", ok(line=b"HTTP/1.1 204 No Content"), False),
        (b"GET", ok(b"Content-Length: 0"), True),
        (b"GET", ok(line=b"HTTP/1.1 304 Not Modified"), False),
        (b"HEAD", ok(b"Content-Length: 5"), True),
        (b"HEAD", ok(CHUNKED), True),
        (b"HEAD", ok(), True),
        (b"HEAD", ok(b"Content-Length: 0"), True),
    ],
)
def test_where_a_body_may_follow_that_does_not_belong_to_the_message(
    method: bytes, message: bytes, follows: bool
) -> None:
    parsed = parse_response(message)
    assert parsed is not None
    assert parsed[0].body_may_follow(method) is follows


def persistent(message: bytes) -> tuple[bool, bool]:
    parsed = parse_response(message)
    assert parsed is not None
    return parsed[0].fields.persistent, parsed[0].fields.keep_alive


def test_persistence() -> None:
    assert persistent(ok()) == (True, False)
    assert persistent(ok(b"Connection: Close")) == (False, False)
    assert persistent(ok(line=b"HTTP/1.0 200 OK")) == (False, False)
    assert persistent(ok(line=b"HTTP/1.2 200 OK")) == (True, False)
    assert persistent(ok(b"Connection: keep-alive", line=b"HTTP/1.0 200 OK")) == (True, True)


def test_only_close_delimited_bodies_end_with_the_connection() -> None:
    for fields, complete in (((), True), ((b"Content-Length: 5",), False), ((CHUNKED,), False)):
        parsed = parse_response(ok(*fields))
        assert parsed is not None
        body = parsed[0].body(b"GET")
        body.feed(b"")
        assert body.ends_at_eof() is complete


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (b"Content-Length: 3e+05", "Content-Length is not a number of at most 63 bits: '3e+05'; R writes digits"),
        (b"Content-Length: 1.5e+06", "'1.5e+06'; R writes digits instead with options(scipen = 15)"),
        (b"Content-Length:", "Content-Length is not a number of at most 63 bits: ''"),
        (b"Content-Length: \t1\t\xe4'\"\\ ", r"""bits: '1\t\xe4\'"\\'"""),
        (b"Content-Length: " + b"1" * 41, f"bits: '{'1' * 37}...'"),
        (b"Content-Length: " + b"a" * 40, f"bits: '{'a' * 40}'"),
        (b"Content-Length: " + b"\xff" * 10_000, rf"bits: '{chr(92)}xff"),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: x\ty", r"one `chunked`: 'gzip, x\ty'"),
    ],
)
def test_a_refused_framing_field_is_shown_harmlessly(field: bytes, said: str) -> None:
    with pytest.raises(BadResponse) as caught:
        ResponseReader().feed(ok(field))
    detail = caught.value.detail
    assert said in detail
    assert detail.isascii()
    assert detail.isprintable()
    assert len(detail) < 260


def test_a_reader_that_has_read_a_head_reads_the_next_as_a_new_one_does() -> None:
    """The latest head is recognized when it comes again: not what only begins as it does, nor in pieces wrongly."""
    length = ok(b"Content-Length: 5", body=b"hello")
    heads = [
        length,
        length,
        ok(b"Content-Length: 5"),
        ok(b"Content-Length: 55"),
        length,
        ok(),
        ok(CHUNKED),
        ok(),
        length,
    ]
    reader = ResponseReader()
    for data in heads:
        for parts in ([data], [data[:9], data[9:]]):
            found = [reader.feed(part) for part in parts][-1]
            expected = parse_response(data)
            assert found is not None
            assert expected is not None
            assert (found[0].raw, found[0].fields, found[1]) == (expected[0].raw, expected[0].fields, expected[1])
    with pytest.raises(BadResponse):
        reader.feed(ok(b"Content-Length: 5", b"Content-Length: 5"))
