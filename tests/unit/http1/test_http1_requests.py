"""Requests: every row of the rules, each in one piece, byte by byte, and in other splits."""

from __future__ import annotations

import pytest

from faucet.http1 import BadRequest, RequestReader, parse_request
from faucet.http1.limits import CHUNK_LINE_LIMIT, EMPTY_LINES_LIMIT, FIELD_COUNT_LIMIT, HEAD_LIMIT, TRAILER_LIMIT
from tests.support.framing import chunked, get, post, read_requests
from tests.support.splits import splittings

REFUSED = [
    # The request line (RFC 9112, 3).
    ("two blanks", get(line=b"GET  / HTTP/1.1"), 400),
    ("blank before", get(line=b" GET / HTTP/1.1"), 400),
    ("blank behind", get(line=b"GET / HTTP/1.1 "), 400),
    ("tab", get(line=b"GET\t/ HTTP/1.1"), 400),
    ("method no token", get(line=b"G@T / HTTP/1.1"), 400),
    ("no target", get(line=b"GET HTTP/1.1"), 400),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("HTTP/0.9 alone", b"GET /\r\n", 400),
    ("HTTP/2.0", get(line=b"GET / HTTP/2.0"), 505),
    ("HTTP/0.9 by name", get(line=b"GET / HTTP/0.9"), 505),
    ("HTTP/1.", get(line=b"GET / HTTP/1."), 400),
    ("no host in HTTP/1.2", get(line=b"GET / HTTP/1.2", host=None), 400),
    ("HTTP/1.10", get(line=b"GET / HTTP/1.10"), 505),
    ("HTTP/3", get(line=b"GET / HTTP/3"), 505),
    ("lower case", get(line=b"GET / http/1.1"), 505),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("version no number", get(line=b"GET / HTTP/1.x"), 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    # Line ends (2.2).
    ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("bare LF in a value", get(b"X: a\nb"), 400),
    ("bare CR in a value", get(b"X: a\rb"), 400),
    ("bare CR in the request line", b"GET / HTTP/1.1\r\rHost: a\r\n\r\n", 400),
    ("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400),
    ("LF CR", b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", 400),
    ("too many empty lines", b"\r\n" * (EMPTY_LINES_LIMIT + 1) + get(), 400),
    ("LF before", b"\n" + get(), 400),
    # The target (3.2).
    ("fragment", get(line=b"GET /a#b HTTP/1.1"), 400),
    ("8 bit target", get(line=b"GET /\xe4 HTTP/1.1"), 400),
    ("NUL in the target", get(line=b"GET /\x00 HTTP/1.1"), 400),
    ("DEL in the target", get(line=b"GET /\x7f HTTP/1.1"), 400),
    ("* with GET", get(line=b"GET * HTTP/1.1"), 400),
    ("no slash", get(line=b"GET a HTTP/1.1"), 400),
    ("authority-form", get(line=b"GET a:80 HTTP/1.1"), 400),
    ("absolute, other host", get(line=b"GET http://b/ HTTP/1.1"), 400),
    ("absolute, other port", get(line=b"GET http://a:81/ HTTP/1.1"), 400),
    ("absolute, default port of another scheme", get(line=b"GET http://a:443/ HTTP/1.1"), 400),
    ("absolute, Host has another port", get(line=b"GET https://a/ HTTP/1.1", host=b"Host: a:80"), 400),
    ("absolute, default port of a scheme without one", get(line=b"GET ftp://a:80/ HTTP/1.1"), 400),
    ("absolute, default port with a zero before it", get(line=b"GET http://a:080/ HTTP/1.1"), 400),
    ("absolute, other host with the default port", get(line=b"GET http://b:80/ HTTP/1.1"), 400),
    ("absolute, longer host", get(line=b"GET http://a:80:80/ HTTP/1.1"), 400),
    ("absolute, empty Host", get(line=b"GET http://a:80/ HTTP/1.1", host=b"Host:"), 400),
    ("absolute, Host with nothing but a port", get(line=b"GET http://a/ HTTP/1.1", host=b"Host: :80"), 400),
    ("absolute, no authority", get(line=b"GET http:///x HTTP/1.1"), 400),
    ("absolute, user information", get(line=b"GET http://u@a/ HTTP/1.1"), 400),
    ("absolute in 1.0, no host", get(line=b"GET http://:80/ HTTP/1.0", host=None), 400),
    ("absolute in 1.0, user information", get(line=b"GET http://u@a/ HTTP/1.0", host=None), 400),
    ("CONNECT", get(line=b"CONNECT a:443 HTTP/1.1"), 501),
    ("CONNECT to a path", get(line=b"CONNECT / HTTP/1.1"), 501),
    # Host (3.2).
    ("no host", get(host=None), 400),
    ("two hosts", get(b"Host: a"), 400),
    ("host with a path", get(host=b"Host: a/b"), 400),
    ("host with a blank", get(host=b"Host: a b"), 400),
    ("host list", get(host=b"Host: a, b"), 400),
    ("host with user", get(host=b"Host: u@a"), 400),
    ("host with a broken escape", get(host=b"Host: %zz"), 400),
    ("host in brackets that is none", get(host=b"Host: [...]"), 400),
    ("host with too large a port", get(host=b"Host: a:65536"), 400),
    ("host with a port that is none", get(host=b"Host: a:b"), 400),
    ("two hosts in 1.0", get(b"Host: a", line=b"GET / HTTP/1.0"), 400),
    # Fields (5).
    ("blank before the colon", get(b"X : a"), 400),
    ("tab before the colon", get(b"X\t: a"), 400),
    ("no colon", get(b"X"), 400),
    ("empty name", get(b": a"), 400),
    ("name no token", get(b"X(: a"), 400),
    ("8 bit name", get(b"X\xe4: a"), 400),
    ("obs-fold", get(b"X: a", b" b"), 400),
    ("obs-fold with tab", get(b"X: a", b"\tb"), 400),
    ("first line folded", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("NUL in a value", get(b"X: a\x00b"), 400),
    ("control in a value", get(b"X: a\x0bb"), 400),
    ("DEL in a value", get(b"X: a\x7fb"), 400),
    # Limits.
    ("head too long", get(b"X: " + b"a" * HEAD_LIMIT), 431),
    ("head too long in its first field", get(host=b"X: " + b"a" * HEAD_LIMIT), 431),
    ("head too long, with a NUL behind the limit", get(b"X: ".ljust(HEAD_LIMIT - len(get()) + 2, b"a") + b"\x00"), 431),
    ("head too long in many fields", get(*[b"X: " + b"a" * 1000] * 80), 431),
    ("request line too long", get(line=b"GET /" + b"a" * HEAD_LIMIT + b" HTTP/1.1"), 414),
    ("too many fields", get(*[b"X: a"] * FIELD_COUNT_LIMIT), 431),
    # Content-Length (6.2).
    *[
        (f"length {value!r}", get(b"Content-Length:" + value), 400)
        for value in (
            b"",
            b" ",
            b" +5",
            b" -5",
            b" 5 5",
            b" 0 5",
            b" 5,5",
            b" 5, 5",
            b" 5;",
            b" 0x5",
            b" 1_0",
            b" 5.0",
            b" 5e0",
            b" \xb2",
            b" \xd9\xa5",
            b" " + b"9" * 20,
            b" \xa05",
            b" 5\t",
            b" 9223372036854775808",
        )
    ],
    ("equal lengths", get(b"Content-Length: 5", b"Content-Length: 5"), 400),
    ("different lengths", get(b"Content-Length: 5", b"Content-Length: 6"), 400),
    # Transfer-Encoding (6.1).
    ("both", get(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    ("both, other order", get(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
    ("coding twice", get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    ("coding in 1.0", get(b"Transfer-Encoding: chunked", line=b"GET / HTTP/1.0"), 400),
    ("coding empty", get(b"Transfer-Encoding:"), 400),
    ("blank behind", get(b"Transfer-Encoding: chunked "), 400),
    ("tab behind", get(b"Transfer-Encoding: chunked\t"), 400),
    *[
        (f"coding {value!r}", get(b"Transfer-Encoding: " + value), 501)
        for value in (
            b"gzip, chunked",
            b"gzip",
            b"identity",
            b"xchunked",
            b"chunked, chunked",
            b"chunked;x=1",
            b",chunked",
            b'"chunked"',
            b"chunked,",
            b"identity, chunked",
            b"chun\xe2\x84\xaaed",
        )
    ],
    ("vertical tab coding", get(b"Transfer-Encoding: \x0bchunked"), 400),
    # Chunks (7.1).
    *[
        (f"chunk {line!r}", chunked(line + b"\r\nhello\r\n0\r\n\r\n"), 400)
        for line in (
            b"",
            b"g",
            b"0x5",
            b"+5",
            b"-5",
            b" 5",
            b"5 ",
            b"5\t",
            b"5 ;a",
            b"1_0",
            b"5,",
            b"0" * 17,
            b"5;a\x00",
            # Extensions that are none (7.1.1).
            b"5;",
            b"5; ",
            b"5;=x",
            b"5; ;a",
            b"5;;a",
            b"5;a;",
            b"5;a; ",
            b"5;a=",
            b"5;a= ;b",
            b"5;a=;b",
            b"5;a==b",
            b"5;a=b=c",
            b"5;a b",
            b"5;a ",
            b"5;a=b ",
            b"5;a\t",
            b'5;"a"',
            b'5;a="b',
            b'5;a="b"c',
            b'5;a="b\\"',
            b'5;a=b"c"',
            b"5;a='b c'",
            b"5;a=\xe4",
            b"5;\xe4",
            b"5;a,b",
            b"5;a=b/c",
            b'5;a="\x7f"',
            b'5;a="\\\x01"',
        )
    ],
    ("chunk line with LF only", chunked(b"5\nhello\r\n0\r\n\r\n"), 400),
    ("chunk extension with LF", chunked(b"5;a\nhello\r\n0\r\n\r\n"), 400),
    ("chunk extension with CR", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    ("chunk data too short", chunked(b"6\r\nhello\r\n0\r\n\r\n"), 400),
    ("chunk data too long", chunked(b"4\r\nhello\r\n0\r\n\r\n"), 400),
    ("chunk data ends with LF", chunked(b"5\r\nhello\n0\r\n\r\n"), 400),
    ("endless chunk extension", chunked(b"5;" + b"a" * CHUNK_LINE_LIMIT), 400),
    ("trailer no field", chunked(b"0\r\nX\r\n\r\n"), 400),
    ("trailer folded", chunked(b"0\r\nX: a\r\n b\r\n\r\n"), 400),
    ("trailer with LF", chunked(b"0\r\nX: a\n\r\n"), 400),
    ("trailer with NUL", chunked(b"0\r\nX: \x00\r\n\r\n"), 400),
    *[
        (f"{name.decode()} in the trailer", chunked(b"0\r\nX: a\r\n" + name + b": 5\r\n\r\n"), 400)
        for name in (b"Content-Length", b"Transfer-encoding", b"HOST", b"Trailer", b"Connection")
    ],
    ("chunk of 64 bits", chunked(b"8000000000000000\r\n"), 400),
    ("too many trailers", chunked(b"0\r\n" + b"X:\r\n" * (FIELD_COUNT_LIMIT + 1)), 431),
    ("NUL in a trailer that is too long", chunked(b"0\r\nX: \x00" + b"x" * TRAILER_LIMIT + b"\r\n\r\n"), 400),
    ("NUL behind the limit of trailers", chunked(b"0\r\nX: a\r\nY: " + b"x" * TRAILER_LIMIT + b"\x00\r\n\r\n"), 431),
    ("trailer too long", chunked(b"0\r\n" + b"X: " + b"a" * TRAILER_LIMIT), 431),
    # Expect (RFC 9110, 10.1.1).
    ("other expectation", get(b"Expect: 200-ok"), 417),
    ("another expectation beside it", get(b"Expect: 100-continue, 200-ok"), 417),
    ("another expectation in a second line", get(b"Expect: 100-continue", b"Expect: x"), 417),
    ("an expectation with a value", get(b"Expect: 100-continue=1"), 417),
    ("an expectation with a parameter", get(b"Expect: 100-continue;x=1"), 417),
    ("a quoted expectation", get(b'Expect: "100-continue"'), 417),
    ("expectations without a comma", get(b"Expect: 100-continue 100-continue"), 417),
    ("a vertical tab at an expectation", get(b"Expect: 100-continue\x0b"), 400),
]

ACCEPTED = [
    ("plain", get()),
    ("1.0 without host", get(line=b"GET / HTTP/1.0", host=None)),
    ("empty host", get(host=b"Host:")),
    ("host and port", get(host=b"Host: a.example:8080")),
    ("host between blanks, and the largest port", get(host=b"Host:\t a:65535 \t")),
    ("IPv6 host", get(host=b"Host: [::1]:80")),
    ("host in capitals", get(host=b"HOST: A")),
    ("unknown method", get(line=b"BREW / HTTP/1.1")),
    ("lower-case method", get(line=b"get / HTTP/1.1")),
    ("odd method", get(line=b"!#$%&'*+-.^_`|~ / HTTP/1.1")),
    ("OPTIONS *", get(line=b"OPTIONS * HTTP/1.1")),
    ("absolute", get(line=b"GET http://a/x?y HTTP/1.1")),
    *[
        (f"absolute {target!r} and {host!r}", get(line=b"GET " + target + b" HTTP/1.1", host=b"Host: " + host))
        for target, host in (
            (b"http://a:80/", b"a"),
            (b"http://a/", b"a:80"),
            (b"HTTP://A:80?x", b"a"),
            (b"http://a:80/", b"A:80"),
            (b"https://a:443/", b"a"),
            (b"https://a", b"a:443"),
            (b"http://a:/", b"a"),
            (b"http://a/", b"a:"),
            (b"http://a:/", b"a:80"),
            (b"http://[::1]:80/", b"[::1]"),
            (b"http://[::80]/", b"[::80]:80"),
            (b"https://a:80/", b"a:80"),
            (b"ftp://a/", b"a:"),
        )
    ],
    *[(f"HTTP/1.{minor}", get(line=b"GET / HTTP/1.%d" % minor)) for minor in range(2, 10)],
    ("chunks in HTTP/1.9", chunked(b"5\r\nhello\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.9")),
    ("absolute, no path", get(line=b"GET HTTP://A HTTP/1.1")),
    ("odd target", get(line=b'GET /<>"{}|\\^`[]~%% HTTP/1.1')),
    ("8 bit value", get(b"X: \xe4\xff")),
    ("no blanks, many blanks", get(b"X:a", b"Y: \t a \t ")),
    ("empty value", get(b"X:")),
    ("request line of 8,000", get(line=b"GET /" + b"a" * 7_986 + b" HTTP/1.1")),
    ("most fields", get(*[b"X: a"] * (FIELD_COUNT_LIMIT - 1))),
    ("length 0", get(b"Content-Length: 0")),
    ("length with zeros", post(b"hello", b"Content-Length: 005")),
    ("length", post(b"hello", b"content-length:5")),
    ("length between blanks", post(b"hello", b"Content-Length:\t 5 ")),
    ("chunked", chunked(b"5\r\nhello\r\n0\r\n\r\n")),
    ("CHUNKED", post(b"5\r\nhello\r\n0\r\n\r\n", b"TRANSFER-ENCODING:\t CHUNKED")),
    ("chunks", chunked(b"1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n")),
    ("chunk of 16", chunked(b"10\r\n0123456789abcdef\r\n0\r\n\r\n")),
    ("chunk data with line ends", chunked(b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n")),
    ("chunk extensions", chunked(b'5;a="b;c";d\r\nhello\r\n0;x\r\n\r\n')),
    *[
        (f"chunk extension {extension!r}", chunked(b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n"))
        for extension in (
            b";a=b",
            b"; a = b",
            b";\ta\t=\tb\t;\tc",
            b";a ;b",
            b';a=""',
            b';a="b c\td=\xe4"',
            b';a="\\"\\\\\\\t"',
            b';a="b" ; c="d"',
            b";!#$%&'*+-.^_`|~=0",
        )
    ],
    ("trailers", chunked(b"0\r\nX: a\r\nY:\xe4\r\n\r\n")),
    ("most trailers", chunked(b"0\r\n" + b"X:\r\n" * FIELD_COUNT_LIMIT + b"\r\n")),
    ("many zeros", chunked(b"0000000000000005\r\nhello\r\n0000\r\n\r\n")),
    ("expect", post(b"hello", b"Content-Length: 5", b"Expect: 100-Continue")),
    ("expect, empty", post(b"hello", b"Content-Length: 5", b"Expect:")),
    ("expect twice", post(b"hello", b"Content-Length: 5", b"Expect: 100-continue", b"Expect: 100-Continue")),
    ("expect as a list", post(b"hello", b"Content-Length: 5", b"Expect: ,100-continue ,\t, 100-continue,")),
    ("expect between blanks", post(b"hello", b"Content-Length: 5", b"Expect:\t 100-Continue \t")),
    ("close", get(b"Connection: close")),
    ("websocket", get(b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")),
]


@pytest.mark.parametrize(("message", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(message: bytes, status: int) -> None:
    for pieces in splittings(message + get() if status != 414 else message):
        assert read_requests(pieces)[:1] == [status], pieces[:3]
    # By its own bytes: what comes behind might be taken for a body, and be refused as that.
    assert read_requests([message])[:1] == [status]


@pytest.mark.parametrize("message", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_accepted_and_forwarded_byte_for_byte(message: bytes) -> None:
    for pieces in splittings(message + message):
        assert [result[0] for result in read_requests(pieces)] == [message, message]


@pytest.mark.parametrize(
    ("octet", "name"), [(b"\n", "a LF without CR"), (b"\r", "a CR without LF"), (b"\x0b", "the control octet 0x0b")]
)
def test_an_illegal_octet_is_named(octet: bytes, name: str) -> None:
    with pytest.raises(BadRequest, match=name):
        RequestReader().feed(get(b"X: a" + octet + b"b"))


def test_empty_lines_before_a_request_are_skipped_and_not_forwarded() -> None:
    for pieces in splittings(b"\r\n" * EMPTY_LINES_LIMIT + get()):
        assert read_requests(pieces) == [(get(), b"GET", b"/")]


def test_an_empty_line_behind_a_body_does_not_begin_a_request() -> None:
    reader = RequestReader()
    assert reader.feed(b"\r\n") is None
    assert not reader.started
    assert reader.feed(get()) is not None


def test_waits_for_more() -> None:
    for end in range(1, len(get())):
        assert read_requests([get()[:end]]) == []


def test_the_same_section_is_judged_by_version() -> None:
    """The verdicts on field sections are kept: not across versions."""
    section = b"X-Same: section\r\n\r\n"
    assert read_requests([b"GET / HTTP/1.0\r\n" + section])[0][0].startswith(b"GET")
    assert read_requests([b"GET / HTTP/1.1\r\n" + section]) == [400]
    assert read_requests([b"GET / HTTP/1.0\r\n" + section])[0][0].startswith(b"GET")


def facts(message: bytes) -> tuple[bool, bool, bool]:
    parsed = parse_request(message)
    assert parsed is not None
    fields = parsed[0].fields
    return fields.persistent, fields.expects_continue, parsed[0].websocket


def test_facts() -> None:
    assert facts(get()) == (True, False, False)
    assert facts(get(b"Connection: foo, CLOSE")) == (False, False, False)
    assert facts(get(b"Connection: foo", b"Connection:close")) == (False, False, False)
    assert facts(get(b"X-Connection: close")) == (True, False, False)
    assert facts(get(line=b"GET / HTTP/1.0")) == (False, False, False)
    assert facts(get(b"Connection: Keep-Alive", line=b"GET / HTTP/1.0")) == (True, False, False)
    assert facts(get(b"Connection: keep-alive, close", line=b"GET / HTTP/1.0")) == (False, False, False)
    assert facts(get(b"Expect: 100-continue", b"Content-Length: 5")) == (True, True, False)
    assert facts(get(b"Expect: 100-continue", line=b"GET / HTTP/1.0")) == (False, False, False)
    assert facts(get(b"Expect: ,", b"Content-Length: 5")) == (True, False, False)
    assert facts(get(b"Expect: , 100-continue", b"Expect: 100-CONTINUE,", b"Content-Length: 5")) == (True, True, False)
    for minor in range(1, 10):
        line = b"GET / HTTP/1.%d" % minor
        assert facts(get(line=line)) == (True, False, False)
        assert facts(get(b"Expect: 100-continue", b"Content-Length: 5", line=line)) == (True, True, False)
        assert facts(get(b"Connection: upgrade", b"Upgrade: websocket", line=line)) == (True, False, True)
    assert facts(get(b"Connection: upgrade", b"Upgrade: WebSocket")) == (True, False, True)
    assert facts(get(b"Connection:\tfoo ,\tUpgrade\t", b"Upgrade:\twebsocket\t")) == (True, False, True)
    assert facts(get(b"Connection: upgrade", b"Upgrade: websocket", line=b"GET / HTTP/1.0")) == (False, False, False)
    assert facts(get(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 5")) == (True, False, False)
    assert facts(get(b"Connection: upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"))[2] is False
    assert facts(get(b"Upgrade: websocket")) == (True, False, False)
    assert facts(get(b"Connection: upgrade", b"Upgrade: websocket, h2c")) == (True, False, False)
    assert facts(get(b"Connection: upgrade", b"Upgrade: websocket", line=b"POST / HTTP/1.1")) == (True, False, False)


def test_other_upgrades_are_left_out_and_nothing_else() -> None:
    """The one exception to byte for byte: httpuv closes the connection on any Upgrade but a WebSocket's."""
    message = get(b"A: 1", b"upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMA", b"Z: 2")
    forwarded = get(b"A: 1", b"Connection: Upgrade, HTTP2-Settings", b"Z: 2")
    for pieces in splittings(message):
        assert read_requests(pieces)[0][0] == forwarded


def test_a_reader_says_whether_a_head_has_begun() -> None:
    reader = RequestReader()
    assert not reader.started
    reader.feed(b"GET")
    assert reader.started
    reader.feed(get()[3:])
    assert not reader.started
