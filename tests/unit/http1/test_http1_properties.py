"""Framing, against everything hypothesis can think of and an independent strict parser, h11."""

from __future__ import annotations

import random

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from faucet.http1 import parse_request
from tests.support.framing import read_requests, read_response
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


SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /x HTTP/1.2\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b'1;a="b\\"" ; c = d\r\nx\r\n0;e\r\n\r\n',
    b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: ,100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
]
SPICE = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"0",
    b",",
    b"\x00",
    b"chunked",
    b"Content-Length: 3\r\n",
    b";",
    b"\xff",
]


def mutate(data: bytes, source: random.Random) -> bytes:
    """Flip, insert, double or cut a few bytes."""
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(data) + 1)
        match source.randrange(4):
            case 0:
                data = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + source.choice(SPICE) + data[at:]
            case 2:
                end = at + source.randint(1, 20)
                data = data[:end] + data[at:end] + data[end:]
            case _:
                data = data[:at] + data[at + source.randint(1, 5) :]
    return data


def agrees_with_h11(forwarded: bytes) -> bool:
    """Whether h11 takes exactly these bytes for one request."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(forwarded)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            return connection.trailing_data[0] == b""
        if event in (h11.NEED_DATA, h11.PAUSED):
            return False


def check_mutant(data: bytes, source: random.Random) -> int:
    """How many requests of `data` would reach a worker; each must be one to h11 too, however it was split."""
    results = read_requests([data])
    assert read_requests(random_pieces(data, source)) == results, data
    assert read_requests([data[i : i + 1] for i in range(len(data))]) == results, data
    accepted = [result for result in results if not isinstance(result, int)]
    for forwarded, _method, _target in accepted:
        try:
            assert agrees_with_h11(forwarded), forwarded
        except h11.RemoteProtocolError as error:
            raise AssertionError(f"h11 refuses {forwarded!r}: {error}") from error
    return len(accepted)


def fuzz(rounds: int, seed: int) -> tuple[int, int]:
    """Mutants tried, and requests among them that were accepted."""
    source = random.Random(seed)
    accepted = 0
    for _ in range(rounds):
        data = b"".join(source.choices(SEEDS, k=source.randint(1, 3)))
        accepted += check_mutant(mutate(data, source), source)
    return rounds, accepted


def test_mutants() -> None:
    rounds, accepted = fuzz(10_000, seed=1)
    assert accepted > rounds / 10


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes(data: bytes) -> None:
    check_mutant(data, random.Random(0))
    read_response([data])
