"""The fields that are added, the client that is believed, the names of requests."""

from __future__ import annotations

import os
import re
import time
from ipaddress import ip_address
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faucet.http1 import parse_request
from faucet.http1.forwarded import (
    HOPS_LIMIT,
    ClientSource,
    Trust,
    append_fields,
    client_of,
    forwarded_fields,
    has_field,
    lookalikes,
    uuid7,
    without,
)

HEAD = b"GET /a?b HTTP/1.1\r\nHost: a\r\nx-FORWARDED-for:\t9.9.9.9 \r\n\r\n"

addresses = st.ip_addresses()


def spelled(name: bytes) -> st.SearchStrategy[bytes]:
    """A name in any case, with any of its dashes as underscores."""
    letters = [
        st.sampled_from([b"-", b"_"]) if letter == b"-" else st.sampled_from([letter.lower(), letter.upper()])
        for letter in (name[index : index + 1] for index in range(len(name)))
    ]
    return st.tuples(*letters).map(b"".join)


texts = st.binary(max_size=30).map(lambda b: bytes(o for o in b if o == 9 or 32 <= o < 127 or o >= 128))


# -- append_fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "fields", "expected"),
    [
        (HEAD, [], HEAD),
        (HEAD, [(b"X-A", b"1")], HEAD[:-2] + b"X-A: 1\r\n\r\n"),
        (HEAD, [(b"X-A", b"1"), (b"X-A", b"2")], HEAD[:-2] + b"X-A: 1\r\nX-A: 2\r\n\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", [(b"X-A", b"")], b"GET / HTTP/1.0\r\nX-A: \r\n\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", [(b"a", b"\t\xe4 \"\\'")], b"GET / HTTP/1.0\r\na: \t\xe4 \"\\'\r\n\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", [], b"GET / HTTP/1.0\r\n\r\n"),
    ],
)
def test_fields_are_appended(head: bytes, fields: list[tuple[bytes, bytes]], expected: bytes) -> None:
    assert append_fields(head, fields) == expected


@pytest.mark.parametrize("head", [b"", b"\r\n", b"GET / HTTP/1.0\r\n", b"GET / HTTP/1.0\n\n", HEAD + b"body"])
def test_what_is_no_whole_head(head: bytes) -> None:
    with pytest.raises(ValueError, match="empty line"):
        append_fields(head, [])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", "ä".encode(), b" a", b"a\n"])
def test_no_field_names(name: bytes) -> None:
    with pytest.raises(ValueError, match="no field"):
        append_fields(HEAD, [(name, b"1")])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\n", b"\r", b"\0", b"\x7f", b"\x1b[2J"])
def test_no_field_values(value: bytes) -> None:
    with pytest.raises(ValueError, match="no field"):
        append_fields(HEAD, [(b"a", value)])


@given(addresses, texts, st.sampled_from([b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"]))
@settings(deadline=None)
def test_a_head_with_more_fields_is_the_same_request(client: object, host: bytes, framing: bytes) -> None:
    raw = b"POST /x HTTP/1.1\r\nHost: a:80\r\n" + framing + b"\r\n"
    longer = append_fields(raw, forwarded_fields(str(client), "http", host))
    before, after = parse_request(raw), parse_request(longer)
    assert before is not None
    assert after is not None
    assert longer.startswith(raw[:-2])
    assert after[0].raw == longer
    assert (after[0].fields, after[1]) == (before[0].fields, b"")


# -- has_field -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "there"),
    [
        (b"Host", True),
        (b"HOST", True),
        (b"X-Forwarded-For", True),
        (b"X-Forwarded", False),
        (b"Forwarded-For", False),
        (b"GET /a?b HTTP/1.1", False),
        (b"a", False),
        (b"9.9.9.9", False),
    ],
)
def test_has_field(name: bytes, there: bool) -> None:
    assert has_field(HEAD, name) is there


def test_a_target_or_a_value_is_no_field() -> None:
    head = b"GET /x-id:1 HTTP/1.1\r\nHost: a\r\nA: x-id: 1\r\nB-X-ID: 2\r\n\r\n"
    assert not has_field(head, b"X-Id")


# -- lookalikes ----------------------------------------------------------------------------------------------------

OURS = (b"X-Forwarded-For", b"Faucet-Request-Uuid")


@pytest.mark.parametrize(
    "name",
    [b"X_Forwarded_For", b"x-forwarded_for", b"X_FORWARDED-FOR", b"Faucet_Request_Uuid", b"faucet-request_uuid"],
)
def test_a_lookalike_is_left_out_and_nothing_else(name: bytes) -> None:
    fields = lookalikes(OURS)
    before, behind = b"GET /X_Forwarded_For: HTTP/1.1\r\nHost: a", b"\r\nZ_Z: \t X_Forwarded_For:1 \r\n\r\n"
    line = b"\r\n" + name + b":\t6.6.6.6, \xe4 "
    assert without(before + behind, fields) == before + behind
    assert without(before + line + behind, fields) == before + behind
    assert without(before + line + line + behind + b"", fields) == before + behind
    assert without(b"GET / HTTP/1.0" + line + b"\r\n\r\n", fields) == b"GET / HTTP/1.0\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"X-Forwarded-For: 1_1",
        b"x-forwarded-for: X_Forwarded_For: 1",
        b"XX_Forwarded_For: 1",
        b"X_Forwarded_For_: 1",
        b"X__Forwarded_For: 1",
        b"X_Forwarded_Proto: 1",
        b"_: 1",
    ],
)
def test_what_is_no_lookalike_stays(line: bytes) -> None:
    head = b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a\r\n\r\n"
    assert without(head, lookalikes(OURS)) == head


def test_without_names_there_are_no_lookalikes() -> None:
    head = b"GET / HTTP/1.0\r\nX_Forwarded_For: 1\r\n_: 2\r\n\r\n"
    assert without(head, lookalikes([])) == head


def cgi_name(name: bytes) -> bytes:
    """What httpuv makes of it."""
    return name.upper().replace(b"-", b"_")


@given(st.lists(st.tuples(st.sampled_from([*OURS, b"A_B"]).flatmap(spelled), texts), max_size=5))
@settings(deadline=None)
def test_ours_are_all_that_a_worker_finds_under_our_names(lines: list[tuple[bytes, bytes]]) -> None:
    raw = b"GET /a_b HTTP/1.1\r\nHost: a\r\n" + b"".join(b"%b:%b\r\n" % line for line in lines) + b"\r\n"
    clean = without(raw, lookalikes(OURS))
    left = [line.partition(b":") for line in clean.split(b"\r\n")[2:-2]]
    kept = [(name, b":", value) for name, value in lines if b"_" not in name or cgi_name(name) == b"A_B"]
    assert left == kept
    parsed = parse_request(clean)
    assert parsed is not None
    assert parsed[0].raw == clean


def test_a_head_full_of_underscores_costs_little() -> None:
    """Linear: a search that looked at each byte again and again would take minutes."""
    fields = lookalikes(OURS)
    for start in (b"", b"X_Forwarded_Fo", b"_"):
        head = b"GET / HTTP/1.1\r\n" + b"\r\n".join([start + b"_" * 30_000 + b": 1"] * 2) + b"\r\n\r\n"
        began = time.process_time()
        assert without(head, fields) == head
        assert time.process_time() - began < 0.5


# -- forwarded_fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "plain", "node"),
    [
        ("192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
        ("2001:DB8::1", b"2001:db8::1", b'"[2001:db8::1]"'),
        ("fe80::1%eth0", b"fe80::1", b'"[fe80::1]"'),
        ("::ffff:192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
        ("unix", b"unknown", b"unknown"),
        ("", b"unknown", b"unknown"),
        ('1.1.1.1"\r\nX: y', b"unknown", b"unknown"),
    ],
)
def test_who_it_is_for(client: str, plain: bytes, node: bytes) -> None:
    assert forwarded_fields(client, "http", None) == [
        (b"X-Forwarded-For", plain),
        (b"X-Forwarded-Proto", b"http"),
        (b"Forwarded", b"for=" + node + b";proto=http"),
    ]


@pytest.mark.parametrize(
    ("host", "written"),
    [
        (b"example.org", b";host=example.org"),
        (b"example.org:8080", b';host="example.org:8080"'),
        (b"[::1]:80", b';host="[::1]:80"'),
        (b"a,b;c=d", b';host="a,b;c=d"'),
        (b'a"b\\c', b';host="a\\"b\\\\c"'),
        (b"%41", b";host=%41"),
        (b"b\xfccher", b';host="b\xfccher"'),
        (b"", b""),
        (None, b""),
        (b"a\r\nb", b""),
        (b"a\0", b""),
    ],
)
def test_which_host_it_was_for(host: bytes | None, written: bytes) -> None:
    *_, (name, value) = forwarded_fields("192.0.2.1", "https", host)
    assert (name, value) == (b"Forwarded", b"for=192.0.2.1;proto=https" + written)


PAIR = re.compile(rb'([A-Za-z]+)=([!#$%&\'*+\-.^_`|~0-9A-Za-z]+|"(?:[^"\\]|\\.)*")(;|$)', re.DOTALL)
"""RFC 7239, 4: what a reader makes of it."""


@given(addresses, texts.filter(bool))
def test_forwarded_is_read_as_it_was_meant(client: object, host: bytes) -> None:
    value = forwarded_fields(str(client), "http", host)[2][1]
    pairs, at = {}, 0
    while at < len(value):
        match = PAIR.match(value, at)
        assert match is not None
        text = match[2]
        pairs[match[1]] = re.sub(rb"\\(.)", rb"\1", text[1:-1], flags=re.DOTALL) if text[:1] == b'"' else text
        at = match.end()
    assert pairs[b"host"] == host
    told = ip_address(pairs[b"for"].strip(b"[]").decode())
    assert told == (getattr(client, "ipv4_mapped", None) or client)
    assert (pairs[b"for"][:1] == b"[") == (told.version == 6)


# -- Trust ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("", [], ["127.0.0.1", "::1", "unix", ""]),
        (" , ", [], ["127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"], ["127.0.0.2", "::1", "unix"]),
        ("10.0.0.0/8,192.168.1.0/24", ["10.255.0.1", "192.168.1.7"], ["11.0.0.1", "192.168.2.1"]),
        (" 10.0.0.0/8 , ::1 ", ["10.0.0.1", "::1", "0:0::1"], ["::2"]),
        ("fe80::/10", ["fe80::1", "fe80::1%eth0"], ["fec0::1"]),
        ("::ffff:10.0.0.0/104", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.1"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("0.0.0.0/0,::/0", ["1.2.3.4", "::1", "::ffff:1.2.3.4"], ["unix", "x", "1.2.3", "1.2.3.4:80"]),
        ("10.0.0.0/255.0.0.0", ["10.1.1.1"], ["11.1.1.1"]),
        ("unix", ["unix"], ["127.0.0.1", "Unix"]),
        ("unix,::1", ["unix", "::1"], ["127.0.0.1"]),
    ],
)
def test_trust(text: str, inside: list[str], outside: list[str]) -> None:
    trusted = Trust(text)
    assert [host for host in inside if host not in trusted] == []
    assert [host for host in outside if host in trusted] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1/8", r"invalid network '10\.0\.0\.1/8'; expected 10\.0\.0\.0/8, or 10\.0\.0\.1 for"),
        ("::1, 2001:db8::1/32", r"'2001:db8::1/32'.*expected 2001:db8::/32"),
        ("10.0.0.0/33", r"'10\.0\.0\.0/33'.*expected 10\.0\.0\.0/8, 192"),
        ("*", r"invalid network '\*'"),
        ("localhost", "invalid network 'localhost'"),
        ("10.0.0", r"invalid network '10\.0\.0'"),
        ("10.0.0.1:80", "invalid network"),
        ("10.0.0.0/8 192.168.0.0/16", "invalid network"),
        ("010.0.0.1", "invalid network"),
        ("fe80::1%eth0", "invalid network"),
        ("１０.0.0.1", "invalid network"),
    ],
)
def test_no_trust(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Trust(text)


# -- client_of -----------------------------------------------------------------------------------------------------

NETWORKS = Trust("10.0.0.0/8, fd00::/8, unix")
PROXY = "10.0.0.1"


def head_with(*lines: bytes) -> bytes:
    head = b"".join(line + b"\r\n" for line in (b"GET /x-forwarded-for:8.8.8.8 HTTP/1.1", b"Host: a", *lines)) + b"\r\n"
    assert parse_request(head) is not None
    return head


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4"], "1.2.3.4"),
        ([b"x-forwarded-FOR:1.2.3.4\t "], "1.2.3.4"),
        ([b"X-Forwarded-For: 6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ([b"X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
        ([b"X-Forwarded-For: 6.6.6.6,1.2.3.4 ,\t10.9.9.9,fd00::1"], "1.2.3.4"),
        ([b"X-Forwarded-For: 6.6.6.6", b"A: b", b"X-Forwarded-For: 1.2.3.4"], "1.2.3.4"),
        ([b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 10.9.9.9"], "1.2.3.4"),
        ([b"X-Forwarded-For: 10.1.1.1, 10.2.2.2"], "10.1.1.1"),  # all are trusted: the first of all
        ([b"X-Forwarded-For: 2001:DB8:0::1"], "2001:db8::1"),
        ([b"X-Forwarded-For: [2001:db8::1]"], "2001:db8::1"),
        ([b"X-Forwarded-For: [2001:db8::1]:4711"], "2001:db8::1"),
        ([b"X-Forwarded-For: 1.2.3.4:4711"], "1.2.3.4"),
        ([b"X-Forwarded-For: ::ffff:1.2.3.4"], "1.2.3.4"),
        ([b"X-Forwarded-For: ::ffff:10.2.2.2"], "10.2.2.2"),
        ([b"X-Forwarded-For: 1.2.3.4, ::ffff:10.2.2.2"], "1.2.3.4"),
        # Empty elements do not count.
        ([b"X-Forwarded-For:"], PROXY),
        ([b"X-Forwarded-For: ,"], PROXY),
        ([b"X-Forwarded-For:", b"X-Forwarded-For: 1.2.3.4,"], "1.2.3.4"),
        ([b"X-Forwarded-For: 1.2.3.4, , 10.2.2.2"], "1.2.3.4"),
        # Junk ends the walk: the last that was an address.
        ([b"X-Forwarded-For: unknown"], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4, unknown"], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4, unknown, 10.2.2.2"], "10.2.2.2"),
        ([b"X-Forwarded-For: \x80\xff"], PROXY),
        ([b'X-Forwarded-For: "1.2.3.4"'], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4 5.6.7.8"], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4:"], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4:123456"], PROXY),
        ([b"X-Forwarded-For: fe80::1%\x80evil"], PROXY),
        ([b"X-Forwarded-For: fe80::1%eth0"], PROXY),
        ([b"X-Forwarded-For: 01.2.3.4"], PROXY),
        ([b"X-Forwarded-For: 1.2.3"], PROXY),
        ([b"X-Forwarded-For: 16909060"], PROXY),
        ([b"X-Forwarded-For: unix"], PROXY),
        ([b"X-Forwarded-For: [1.2.3.4]"], "1.2.3.4"),
        ([b"X-Real-IP: 1.2.3.4"], PROXY),
        ([b"Forwarded: for=1.2.3.4"], PROXY),
        ([b"A: X-Forwarded-For: 1.2.3.4"], PROXY),
        ([b"XX-Forwarded-For: 1.2.3.4"], PROXY),
    ],
)
def test_x_forwarded_for(lines: list[bytes], client: str) -> None:
    assert client_of(head_with(*lines), "x-forwarded-for", PROXY, NETWORKS) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        ([b"X-Real-IP: 1.2.3.4"], "1.2.3.4"),
        ([b"x-real-ip:\t2001:DB8::1 "], "2001:db8::1"),
        ([b"X-Real-IP: 10.2.2.2"], "10.2.2.2"),
        ([b"X-Real-IP: 1.2.3.4, 5.6.7.8"], PROXY),
        ([b"X-Real-IP: 1.2.3.4", b"X-Real-IP: 5.6.7.8"], PROXY),
        ([b"X-Real-IP: 1.2.3.4", b"X-Real-IP: 1.2.3.4"], PROXY),
        ([b"X-Real-IP:"], PROXY),
        ([b"X-Real-IP: \x1b[2J".replace(b"\x1b", b"\x9b")], PROXY),
        ([b"X-Forwarded-For: 1.2.3.4"], PROXY),
    ],
)
def test_x_real_ip(lines: list[bytes], client: str) -> None:
    assert client_of(head_with(*lines), "x-real-ip", PROXY, NETWORKS) == client


@pytest.mark.parametrize("peer", ["192.0.2.1", "fe80::1%eth0", "::1"])
@pytest.mark.parametrize("how", ["client", "x-forwarded-for", "x-real-ip"])
def test_who_is_not_trusted_is_not_asked(peer: str, how: ClientSource) -> None:
    head = head_with(b"X-Forwarded-For: 1.2.3.4", b"X-Real-IP: 1.2.3.4")
    assert client_of(head, how, peer, NETWORKS) == peer
    assert client_of(head, how, "unix", Trust()) == "unix"


def test_a_unix_socket_can_be_trusted() -> None:
    head = head_with(b"X-Forwarded-For: 1.2.3.4", b"X-Real-IP: 5.6.7.8")
    sources: list[ClientSource] = ["client", "x-forwarded-for", "x-real-ip"]
    assert [client_of(head, how, "unix", NETWORKS) for how in sources] == ["unix", "1.2.3.4", "5.6.7.8"]


@pytest.mark.quiet
def test_a_very_long_chain_costs_little() -> None:
    start = time.perf_counter()
    head = head_with(b"X-Forwarded-For: 1.2.3.4" + b",10.2.2.2" * 7000)
    for _ in range(20):
        assert client_of(head, "x-forwarded-for", PROXY, NETWORKS) == "10.2.2.2"
    assert time.perf_counter() - start < 1
    head = head_with(b"X-Forwarded-For: 1.2.3.4" + b",10.2.2.2" * (HOPS_LIMIT - 1))
    assert client_of(head, "x-forwarded-for", PROXY, NETWORKS) == "1.2.3.4"


chains = st.lists(st.one_of(texts, addresses.map(lambda a: str(a).encode())), max_size=6).map(b", ".join)


@given(st.lists(chains, max_size=3), st.sampled_from(["x-forwarded-for", "x-real-ip"]))
@settings(max_examples=300)
def test_nothing_but_addresses_comes_out(values: list[bytes], how: ClientSource) -> None:
    head = head_with(*(how.encode() + b": " + value for value in values))
    client = client_of(head, how, PROXY, Trust("0.0.0.0/0, ::/0"))
    assert str(ip_address(client)) == client
    assert "%" not in client


@given(chains, st.integers(0, 5))
def test_the_right_end_is_believed(forged: bytes, proxies: int) -> None:
    """The client may write what it likes to the left of what the first trusted proxy has added."""
    value = b", ".join([forged, b"203.0.113.9", *(b"10.0.0.%d" % index for index in range(proxies))])
    assert client_of(head_with(b"X-Forwarded-For: " + value), "x-forwarded-for", PROXY, NETWORKS) == "203.0.113.9"


# -- uuid7 ---------------------------------------------------------------------------------------------------------


def test_the_example_of_the_rfc() -> None:
    """RFC 9562, A.6."""
    random = (0x0CC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert uuid7(0x017F22E279B0, lambda size: random[:size]) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_uuids(now: int, random: bytes) -> None:
    text = uuid7(now, lambda size: random[:size])
    uuid = UUID(text)
    assert str(uuid) == text
    assert (uuid.version, uuid.variant, uuid.int >> 80) == (7, RFC_4122, now)
    # All that is not fixed is random: 74 bits.
    fixed = 0xF << 76 | 0x3 << 62
    assert uuid.int & (1 << 80) - 1 & ~fixed == int.from_bytes(random, "big") & ~fixed


def test_uuids_differ_and_follow_time() -> None:
    assert len({uuid7(1, os.urandom) for _ in range(1000)}) == 1000
    assert uuid7(1, os.urandom) < uuid7(2, os.urandom) < uuid7(2**40, os.urandom)


@pytest.mark.parametrize("now", [-1, 2**48])
def test_no_times(now: int) -> None:
    with pytest.raises(ValueError, match="no time"):
        uuid7(now, os.urandom)
