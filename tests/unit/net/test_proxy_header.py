"""The PROXY protocol: what is read, what is refused and where, and that splits never matter."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faucet.net.proxy_header import SIGNATURE, V1_LIMIT, V2_LIMIT, Peer, ProxyHeaderError, ProxyHeaderReader
from tests.support.splits import random_pieces, splittings

REST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

Outcome = tuple[Peer | None, bytes] | str | None


def read(pieces: list[bytes]) -> Outcome:
    """The peer and all that follows the header; the error's text; None if the header is incomplete."""
    reader = ProxyHeaderReader()
    for index, piece in enumerate(pieces):
        try:
            found = reader.feed(piece)
        except ProxyHeaderError as error:
            return str(error)
        if found is not None:
            assert not reader.started
            return found[0], b"".join([found[1], *pieces[index + 1 :]])
    return None


def header(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


def tcp4(source: str, destination: str, ports: tuple[int, int], tlvs: bytes = b"") -> bytes:
    block = IPv4Address(source).packed + IPv4Address(destination).packed + struct.pack("!HH", *ports)
    return header(0x21, 0x11, block + tlvs)


def tcp6(source: str, destination: str, ports: tuple[int, int], tlvs: bytes = b"") -> bytes:
    block = IPv6Address(source).packed + IPv6Address(destination).packed + struct.pack("!HH", *ports)
    return header(0x21, 0x21, block + tlvs)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


TLVS = tlv(0x03, b"\0\0\0\0") + tlv(0x02, "exämple.org".encode()) + tlv(0x20, b"\1\0\0\0\0") + tlv(0xEA, b"\1vpce-1")
UNIX = b"/run/a.sock".ljust(108, b"\0") + bytes(108)
LONGEST_6 = b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2 + [b"65535"] * 2) + b"\r\n"
LONGEST_UNKNOWN = LONGEST_6.replace(b"TCP6", b"UNKNOWN")

RIGHT = [
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", Peer("192.168.0.1", 56324)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Peer("255.255.255.255", 65535)),
    (b"PROXY TCP4 0.0.0.0 1.1.1.1 0 0\r\n", Peer("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:DB8:0:0::1 ::1 4124 443\r\n", Peer("2001:db8::1", 4124)),
    (b"PROXY TCP6 ::ffff:10.1.2.3 ::ffff:10.0.0.1 1 2\r\n", Peer("10.1.2.3", 1)),
    (b"PROXY TCP6 ::ffff:a01:203 :: 1 2\r\n", Peer("10.1.2.3", 1)),
    (LONGEST_6, Peer(":".join(["ffff"] * 8), 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN \r\n", None),
    (b"PROXY UNKNOWN what ever \x00\xff it is\r\n", None),
    (LONGEST_UNKNOWN, None),
    (tcp4("10.1.2.3", "10.0.0.1", (56324, 443)), Peer("10.1.2.3", 56324)),
    (tcp4("10.1.2.3", "10.0.0.1", (56324, 443), TLVS), Peer("10.1.2.3", 56324)),
    (tcp4("1.2.3.4", "5.6.7.8", (0, 65535), bytes(V2_LIMIT - 12)), Peer("1.2.3.4", 0)),
    (tcp6("2001:db8::1", "::1", (4124, 443)), Peer("2001:db8::1", 4124)),
    (tcp6("2001:db8::1", "::1", (4124, 443), TLVS), Peer("2001:db8::1", 4124)),
    (tcp6("::ffff:10.1.2.3", "::1", (1, 2)), Peer("10.1.2.3", 1)),
    (header(0x20, 0x00, b""), None),
    (header(0x20, 0x11, b"abc"), None),  # LOCAL: the family is ignored, what is announced is skipped
    (header(0x20, 0xFF, bytes(12)), None),
    (header(0x20, 0x00, TLVS), None),
    (header(0x21, 0x00, b""), None),
    (header(0x21, 0x00, b"anything"), None),
    (header(0x21, 0x01, b""), None),
    (header(0x21, 0x10, b""), None),
    (header(0x21, 0x12, bytes(12)), None),
    (header(0x21, 0x22, bytes(36)), None),
    (header(0x21, 0x31, UNIX), None),
    (header(0x21, 0x31, UNIX + TLVS), None),
    (header(0x21, 0x32, UNIX), None),
]


@pytest.mark.parametrize(("data", "peer"), RIGHT)
@pytest.mark.parametrize("rest", [b"", REST, b"\r\n", b"PROXY UNKNOWN\r\n", SIGNATURE])
def test_headers(data: bytes, peer: Peer | None, rest: bytes) -> None:
    assert read([data + rest]) == (peer, rest)
    assert read([data, rest]) == (peer, rest)


@pytest.mark.parametrize(("data", "peer"), RIGHT)
def test_headers_however_split(data: bytes, peer: Peer | None) -> None:
    for pieces in splittings(data + REST):
        assert read(pieces) == (peer, REST)


@pytest.mark.parametrize("data", [data for data, _ in RIGHT])
def test_an_incomplete_header_is_waited_for(data: bytes) -> None:
    reader = ProxyHeaderReader()
    assert not reader.started
    assert reader.feed(b"") is None
    assert not reader.started
    for index in range(len(data) - 1):
        assert reader.feed(data[index : index + 1]) is None
        assert reader.started
    assert reader.feed(data[-1:]) is not None


def test_the_longest_lines_are_those_of_the_specification() -> None:
    assert (len(LONGEST_6), len(LONGEST_UNKNOWN)) == (104, V1_LIMIT)


NONE, LINE, TOO_LONG = "does not begin with", "is malformed", "longer than 107"

WRONG = [
    # The bytes, how many of them are enough to know, and what is said.
    (REST, 1, NONE),
    (b"P" + REST, 2, NONE),
    (b"POST / HTTP/1.1\r\n", 2, NONE),
    (b"\x16\x03\x01\x02\x00", 1, NONE),
    (b"\n", 1, NONE),
    (b"\r\n\r\n\0\r\nQUIX\n", 11, NONE),
    (b"\r\nPROXY UNKNOWN\r\n", 3, NONE),
    (b" PROXY UNKNOWN\r\n", 1, NONE),
    (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", 1, NONE),
    (b"PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", 7, NONE),
    (b"PROXY\tTCP4 1.1.1.1 2.2.2.2 1 2\r\n", 6, NONE),
    (b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", 10, NONE),
    (b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", 8, NONE),
    (b"PROXY\r\n", 6, NONE),
    (b"PROXY TCP4\r\n", 11, NONE),
    (b"PROXY UNKNOWNX\r\n", 14, LINE),
    (b"PROXY UNKNOWN\n", 14, LINE),
    (b"PROXY UNKNOWN a\nb\r\n", 16, LINE),
    (b"PROXY UNKNOWN a\rb\r\n", 17, LINE),
    (b"PROXY UNKNOWN\r\r\n", 15, LINE),
    (b"PROXY TCP4 \r\n", 12, LINE),
    (b"PROXY TCP4 1.1.1.1\r\n", 19, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2\r\n", 27, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", 29, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n", 30, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", 31, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", 31, LINE),
    (b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", 12, LINE),
    (b"PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n", 20, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", 31, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX", 32, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n", 32, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", 29, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 00 2\r\n", 29, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", 28, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n", 28, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1_0 2\r\n", 29, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 \xb2\r\n", 30, LINE),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 100000 2\r\n", 33, LINE),
    (b"PROXY TCP4 ::1 ::1 1 2\r\n", 12, LINE),
    (b"PROXY TCP4 localhost 2.2.2.2 1 2\r\n", 12, LINE),
    (b"PROXY TCP4 255.255.255.2555 2.2.2.2 1 2\r\n", 27, LINE),
    (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", 19, LINE),
    (b"PROXY TCP6 [::1] ::1 1 2\r\n", 12, LINE),
    (b"PROXY TCP6 ::1 ::g 1 2\r\n", 18, LINE),
    (b"PROXY TCP6 " + b"1" * 40, 51, LINE),
    # Addresses are looked at when the line is complete (section 2.1).
    (b"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", 34, "wrong address.*256"),
    (b"PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", 33, "wrong address.*01"),
    (b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", 30, "wrong address"),
    (b"PROXY TCP4 1.1.1.1 2.2.2 1 2\r\n", 30, "wrong address"),
    (b"PROXY TCP4 1.1.1.1.1 2.2.2.2 1 2\r\n", 34, "wrong address"),
    (b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", 32, "wrong address"),
    (b"PROXY TCP6 ::1::2 ::1 1 2\r\n", 27, "wrong address"),
    (b"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", 34, "wrong address"),
    (b"PROXY TCP6 ::1 12345:: 1 2\r\n", 28, "wrong address"),
    (b"PROXY TCP6 ::1 ::1.2.3.400 1 2\r\n", 32, "wrong address"),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", 36, "wrong port: 65536"),
    (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n", 36, "wrong port: 99999"),
    (b"PROXY UNKNOWN " + b"x" * 93, 107, TOO_LONG),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", 107, TOO_LONG),
    (header(0x11, 0x11, bytes(12)), 13, "unknown version 1"),
    (header(0x01, 0x11, bytes(12)), 13, "unknown version 0"),
    (header(0x31, 0x11, bytes(12)), 13, "unknown version 3"),
    (header(0x22, 0x11, bytes(12)), 13, "unknown command 2"),
    (header(0x2F, 0x11, bytes(12)), 13, "unknown command 15"),
    (header(0x21, 0x41, bytes(12)), 14, "unknown address family 0x41"),
    (header(0x21, 0x13, bytes(12)), 14, "unknown address family 0x13"),
    (header(0x21, 0x0F, bytes(12)), 14, "unknown address family 0x0f"),
    (header(0x21, 0x11, b""), 16, "too few"),
    (header(0x21, 0x11, bytes(11)), 16, "too few"),
    (header(0x21, 0x12, bytes(11)), 16, "too few"),
    (header(0x21, 0x21, bytes(35)), 16, "too few"),
    (header(0x21, 0x31, bytes(215)), 16, "too few"),
    (header(0x21, 0x11, b"", 0xFFFF), 16, "65535 bytes; 4096 are allowed"),
    (header(0x20, 0x00, b"", V2_LIMIT + 1), 16, "4097 bytes; 4096 are allowed"),
]


@pytest.mark.parametrize(("data", "enough", "text"), WRONG)
def test_what_is_refused_and_how_early(data: bytes, enough: int, text: str) -> None:
    assert read([data[: enough - 1]]) is None
    with pytest.raises(ProxyHeaderError, match=text):
        ProxyHeaderReader().feed(data[:enough])
    with pytest.raises(ProxyHeaderError, match=text):
        ProxyHeaderReader().feed(data)


@pytest.mark.parametrize("data", [data for data, _, _ in WRONG])
def test_what_is_said_does_not_depend_on_splits(data: bytes) -> None:
    said = read([data + REST])
    assert isinstance(said, str)
    for pieces in splittings(data + REST):
        assert read(pieces) == said


def test_an_error_stays_one() -> None:
    reader = ProxyHeaderReader()
    for piece in (b"G", b"", REST):
        with pytest.raises(ProxyHeaderError):
            reader.feed(piece)


ports = st.tuples(st.integers(0, 65535), st.integers(0, 65535))


@given(st.ip_addresses(), st.ip_addresses(), ports, st.binary(max_size=60), st.booleans(), st.integers())
@settings(deadline=None)
def test_any_address_comes_through(
    source: IPv4Address | IPv6Address,
    destination: IPv4Address | IPv6Address,
    two: tuple[int, int],
    extra: bytes,
    line: bool,
    seed: int,
) -> None:
    four = source.version == 4
    other = str(destination) if destination.version == source.version else ("1.1.1.1" if four else "::1")
    if line:
        data = f"PROXY TCP{source.version} {source} {other} {two[0]} {two[1]}\r\n".encode()
    else:
        data = (tcp4 if four else tcp6)(str(source), other, two, extra)
    outcome = read(random_pieces(data + REST, random.Random(seed), 12))
    assert isinstance(outcome, tuple)
    assert outcome[0] is not None
    assert outcome[1] == REST
    expected = getattr(source, "ipv4_mapped", None) or source
    assert (ip_address(outcome[0].host), outcome[0].port) == (expected, two[0])


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """A right header with a few bytes changed, left out or put in."""
    data = bytearray(draw(st.sampled_from([data for data, _ in RIGHT if len(data) < 300])))
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(data)))
        data[index : index + draw(st.integers(0, 2))] = draw(st.sampled_from([b"", b" ", b"\r", b"\n", b"0", b"\xff"]))
    return bytes(data)


@given(nearly_right() | st.binary(max_size=150), st.integers())
@settings(deadline=None, max_examples=400)
def test_no_bytes_depend_on_splits(data: bytes, seed: int) -> None:
    whole = read([data])
    assert read([data[index : index + 1] for index in range(len(data))]) == whole
    assert read(random_pieces(data, random.Random(seed), 7)) == whole
    # And what was refused stays refused, with the same words, whatever comes behind.
    if isinstance(whole, str):
        assert read([data + REST]) == whole
