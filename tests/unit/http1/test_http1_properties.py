"""Framing, against everything hypothesis can think of and an independent strict parser, h11."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from faucet.http1 import parse_request
from tests.support.framing import read_requests, read_response
from tests.support.mutants import check_mutant, fuzz
from tests.support.splits import random_pieces

TOKEN = "!#$%&'*+-.^_`|~0123456789abcXYZ"
tokens = st.text(TOKEN, min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=20).map(lambda b: bytes(o for o in b if o == 9 or 32 <= o < 127 or o >= 128))


def values_octet(octet: bytes) -> bool:
    """Whether a field value may have it."""
    return octet == b"\t" or b" " <= octet < b"\x7f" or octet >= b"\x80"


targets = st.text("abc/?&=%~+<>[]", max_size=20).map(lambda text: b"/" + text.encode())
bodies = st.binary(max_size=200)
framing_names = {
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"host",
    b"expect",
    b"upgrade",
    b"http2-settings",
}
fields = st.lists(
    st.tuples(tokens, values)
    .filter(lambda field: field[0].lower() not in framing_names)
    .map(lambda f: f[0] + b":" + f[1]),
    max_size=6,
)


blanks = st.sampled_from([b"", b" ", b"\t "])
quoted_texts = st.lists(
    values.map(lambda text: bytes(octet for octet in text if octet not in b'"\\'))
    | st.binary(min_size=1, max_size=1).filter(values_octet).map(lambda octet: b"\\" + octet),
    max_size=4,
).map(lambda parts: b'"' + b"".join(parts) + b'"')
extensions = st.lists(
    st.tuples(blanks, st.just(b";"), blanks, tokens, blanks, st.just(b"="), blanks, tokens | quoted_texts).map(b"".join)
    | st.tuples(blanks, st.just(b";"), blanks, tokens).map(b"".join),
    max_size=3,
).map(lambda parts: b"".join(parts).lstrip(b" \t"))
"""RFC 9112, 7.1.1, without the blanks behind the size that are refused here."""


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A well-formed chunked body, extensions and trailers included."""
    encoded = b""
    for data in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5)):
        size = b"%x" % len(data)
        extension = draw(extensions)
        encoded += draw(st.sampled_from([b"", b"0", b"000"])) + draw(st.sampled_from([size, size.upper()])) + extension
        encoded += b"\r\n" + data + b"\r\n"
    trailers = draw(st.sampled_from([b"", b"X: y\r\n", b"X:\r\nY: \xff\r\n"]))
    return encoded + draw(st.sampled_from([b"0", b"00", b"0;a=b"])) + b"\r\n" + trailers + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A well-formed request."""
    lines = [
        draw(tokens.filter(lambda t: t != b"CONNECT")) + b" " + draw(targets) + b" HTTP/1.1",
        b"Host: a",
        *draw(fields),
    ]
    body = b""
    match draw(st.sampled_from(["none", "length", "chunked"])):
        case "length":
            body = draw(bodies)
            lines.append(b"Content-Length: %d" % len(body))
        case "chunked":
            body = draw(chunked_bodies())
            lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@given(st.lists(requests(), min_size=1, max_size=4), st.integers())
@settings(deadline=None, max_examples=400)
def test_any_requests_pass_unchanged_however_split(messages: list[bytes], seed: int) -> None:
    pieces = random_pieces(b"".join(messages), random.Random(seed))
    assert [result[0] for result in read_requests(pieces)] == messages


@given(
    st.sampled_from([200, 404, 500]),
    fields,
    chunked_bodies() | bodies,
    st.booleans(),
    st.integers(),
    st.binary(max_size=5),
)
@settings(deadline=None, max_examples=300)
def test_any_response_passes_unchanged_however_split(
    status: int, lines: list[bytes], body: bytes, chunked: bool, seed: int, behind: bytes
) -> None:
    try_chunked = (
        chunked
        and body.endswith(b"\r\n\r\n")
        and read_response([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body]) not in (502, None)
    )
    complete = try_chunked and read_response([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body])[2:] == (
        b"",
        True,
    )
    framing = b"Transfer-Encoding: chunked" if complete else b"Content-Length: %d" % len(body)
    message = b"\r\n".join([b"HTTP/1.1 %d X" % status, framing, *lines]) + b"\r\n\r\n" + body
    pieces = random_pieces(message + behind, random.Random(seed))
    assert read_response(pieces) == (status, message, behind, True)


hosts = st.sampled_from(["a", "A.example", "[::1]", "[::80]", "80", "a%3A80"])
ports = st.sampled_from(["", ":", ":80", ":443", ":8080", ":080"])


@given(st.sampled_from(["http", "https", "HTTP", "ftp"]), st.tuples(hosts, ports), st.tuples(hosts, ports), st.data())
@settings(deadline=None)
def test_target_and_host_agree_as_their_normal_forms_do(
    scheme: str, target: tuple[str, str], host: tuple[str, str], data: st.DataObject
) -> None:
    """RFC 9110, 4.2.3."""
    if data.draw(st.booleans()):
        host = (target[0].swapcase(), host[1])
    defaults = {"http": ":80", "https": ":443"}

    def normal(authority: tuple[str, str]) -> tuple[str, str]:
        port = "" if authority[1] in (":", defaults.get(scheme.lower())) else authority[1]
        return authority[0].lower(), port

    line = f"GET {scheme}://{''.join(target)}/x HTTP/1.1\r\nHost: {''.join(host)}\r\n\r\n".encode()
    assert read_requests([line]) == ([(line, b"GET", line.split(b" ")[1])] if normal(target) == normal(host) else [400])


@given(
    st.lists(
        st.lists(st.sampled_from([b"", b" ", b"100-continue", b"\t100-Continue ", b"100-continuee", b"x", b'"'])),
        max_size=3,
    )
)
@settings(deadline=None)
def test_expectations_are_a_list(lines: list[list[bytes]]) -> None:
    """RFC 9110, 10.1.1 and 5.6.1."""
    fields = b"".join(b"Expect:" + b",".join(members) + b"\r\n" for members in lines)
    request = b"PUT / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
    members = {member.strip(b" \t").lower() for line in lines for member in line} - {b""}
    if members <= {b"100-continue"}:
        parsed = parse_request(request)
        assert parsed is not None
        assert parsed[0].fields.expects_continue is bool(members)
    else:
        assert read_requests([request]) == [417]


def test_mutants() -> None:
    rounds, accepted = fuzz(10_000, seed=1)
    assert accepted > rounds / 10


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes(data: bytes) -> None:
    check_mutant(data, random.Random(0))
    read_response([data])
