"""Who the client is when there are proxies: what is told to the worker, and what is believed of those in front.

Pure functions over the raw bytes of a head that RequestReader has accepted: its lines end in CRLF, and neither CR nor
LF is anywhere else, so a CRLF and a name and a colon are a field and nothing but a field. Fields are added behind the
others, and every byte that was there stays, but for fields that could be taken for ours (`lookalikes`).

What a client writes about itself is no address until it is parsed as one, and is believed only as far as the chain of
trusted proxies reaches. Nothing but the text of a parsed address, or what the socket said, comes out of here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from faucet.http1 import grammar

ClientSource = Literal["client", "x-forwarded-for", "x-real-ip"]
"""Where the client's address in the log comes from: the connection, or a field by a trusted proxy."""

HOPS_LIMIT = 32
"""Addresses of X-Forwarded-For that are looked at: more than any chain has, so that 64 KiB of them cost nothing."""

FORWARDED = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded")
"""The names that `forwarded_fields` gives."""

UNIX_PEER = "unix"
"""What stands for the address of a client that came over a Unix socket."""

_TOKEN = re.compile(grammar.TOKEN)
_FIELD_VALUE = re.compile(grammar.FIELD_VALUE)

# With the port that some proxies add, which RFC 7239, 6 allows too. No zone (`%eth0`): it can be any text.
_NODE = re.compile(rb"([0-9.]++)(?::[0-9]{1,5}+)?+|\[([0-9A-Fa-f:.]++)\](?::[0-9]{1,5}+)?+|([0-9A-Fa-f:.]++)")

_UUID_TIME_BITS = 48


class Trust:
    """The networks whose proxies are believed."""

    __slots__ = ("_networks", "_text", "_unix_socket")

    def __init__(self, text: str = "") -> None:
        """`10.0.0.0/8, ::1, unix`: networks, addresses, the word for Unix sockets; empty: nobody. Raises ValueError."""
        words = [word for part in text.split(",") if (word := part.strip())]
        self._text = ",".join(words)
        self._unix_socket = UNIX_PEER in words
        self._networks = [_network(word) for word in words if word != UNIX_PEER]

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trust) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __contains__(self, host: str) -> bool:
        """Whether `host`, an address as text or `unix`, is trusted. Any other text is not."""
        if host == UNIX_PEER:
            return self._unix_socket
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)


def append_fields(head: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    """The raw head with these names and values behind its own fields, in order; every other byte as it was.

    Raises ValueError if `head` does not end in an empty line, or for what is no field name or no field value: a line
    break in one would be another field, or another request.
    """
    if not head.endswith(b"\r\n\r\n"):
        raise ValueError("the head does not end in an empty line")
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"no field: {name!r}: {value!r}")
    return head[:-2] + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"


def lookalikes(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """What `without` takes to remove fields that a worker may take for those of `names`, though they are others.

    CGI's names for fields (`HTTP_X_FORWARDED_FOR`, which httpuv and WSGI use as well) have `_` for `-`, so there
    `X_Forwarded-For` is X-Forwarded-For too, and with httpuv it wins over the real one. A pattern for no names
    matches nothing.
    """
    written = b"|".join(re.escape(name).replace(b"\\-", b"[-_]") for name in names)
    return re.compile(rb"\r\n(?=[^:\r_]*+_)(?:" + (written or b"(?!)") + rb"):[^\r]*+", re.IGNORECASE)


def without(raw_head: bytes, fields: re.Pattern[bytes]) -> bytes:
    """The raw head without those fields, every other byte as it was."""
    return fields.sub(b"", raw_head)


def has_field(raw_head: bytes, name: bytes) -> bool:
    """Whether there is a field of that name, in any case."""
    return b"\r\n" + name.lower() + b":" in raw_head.lower()


def forwarded_fields(client_host: str, scheme: str, host: bytes | None) -> list[tuple[bytes, bytes]]:
    """X-Forwarded-For, X-Forwarded-Proto and Forwarded (RFC 7239) about one hop, for append_fields.

    `client_host` is the address of whoever is connected to us; what is no address (a Unix socket) is `unknown`
    (RFC 7239, 6.2). `host` is the Host field, left out if None, empty, or nothing that a field can hold.

    Behind a client's own lines of the same name, ours are the last: X-Forwarded-For and Forwarded are lists, read as
    one (RFC 9110, 5.3), and only their right ends can be trusted. X-Forwarded-Proto is no list. Where a trusted proxy
    has sent one already, it knows better than we do, and ours is to be left out.
    """
    address = _address(client_host)
    plain = b"unknown" if address is None else str(address).encode()
    node = b"[%b]" % plain if isinstance(address, IPv6Address) else plain
    pairs = [(b"for", node), (b"proto", scheme.encode())]
    if host and _FIELD_VALUE.fullmatch(host):
        pairs.append((b"host", host))
    forwarded = b";".join(name + b"=" + _quoted(value) for name, value in pairs)
    return list(zip(FORWARDED, (plain, scheme.encode(), forwarded), strict=True))


def client_of(raw_head: bytes, how: ClientSource, peer_host: str, trusted: Trust) -> str:
    """The client's address for the log: `peer_host`, unless a trusted peer tells another in the field `how`.

    X-Forwarded-For is read from the right, several lines as one: each trusted proxy is asked for whom it asked. The
    answer is the first that is not trusted, or the last that is an address. X-Real-IP has to be one address in one
    line; two lines may be the client's and the proxy's in either order.
    """
    if how == "x-forwarded-for":
        return _last_untrusted(_values(raw_head, b"x-forwarded-for"), peer_host, trusted)
    if how == "x-real-ip" and peer_host in trusted:
        values = _values(raw_head, b"x-real-ip")
        address = _node(values[0]) if len(values) == 1 else None
        return peer_host if address is None else str(address)
    return peer_host


def uuid7(now_ms: int, random: Callable[[int], bytes]) -> str:
    """A UUID of version 7 (RFC 9562, 5.7) for `now_ms`, milliseconds since 1970; `random(n)` gives n bytes.

    Those of one millisecond are in no order: they are names for requests, and the log has the times. Raises
    ValueError for a time before 1970 or beyond 48 bits.
    """
    if not 0 <= now_ms < 1 << _UUID_TIME_BITS:
        raise ValueError(f"no time for a UUID: {now_ms} ms")
    number = now_ms << 80 | int.from_bytes(random(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76  # the version
    number = number & ~(0x3 << 62) | 0x2 << 62  # the variant
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _network(word: str) -> IPv4Network | IPv6Network:
    try:
        if "%" in word:
            raise ValueError("ip_network takes a zone, but compares none")
        network = ip_network(word)
    except ValueError as error:
        raise ValueError(f"invalid network {word!r}; expected {_meant(word)}") from error
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    # Addresses are compared as IPv4 where they are that; within ::ffff:0:0/96 so must networks be.
    return network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))


def _meant(word: str) -> str:
    """Most often there are bits behind the prefix, as in 10.0.0.1/8."""
    try:
        return f"{ip_network(word, strict=False)}, or {word.partition('/')[0]} for that address alone"
    except ValueError:
        return "10.0.0.0/8, 192.168.1.7, fd00::/8, ::1, or unix"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address a socket told, without its zone: that means nothing to others. IPv4 in IPv6 as IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _node(value: bytes) -> IPv4Address | IPv6Address | None:
    """The address that a proxy wrote, with a port or without. None for all else."""
    match = _NODE.fullmatch(value.strip(b" \t"))
    return None if match is None else _address((match[1] or match[2] or match[3]).decode("ascii"))


def _values(raw_head: bytes, name: bytes) -> list[bytes]:
    """The values of the fields with that name, which is in lower case, in order, blanks and all."""
    lower, start, values = raw_head.lower(), b"\r\n" + name + b":", []
    at = lower.find(start)
    while at >= 0:
        end = raw_head.find(b"\r\n", at + 2)
        values.append(raw_head[at + len(start) : end])
        at = lower.find(start, end)
    return values


def _last_untrusted(values: list[bytes], peer_host: str, trusted: Trust) -> str:
    client = peer_host
    # Splitting from the right leaves what is beyond the limit in the first part, which then is no address.
    for word in reversed(b",".join(values).rsplit(b",", HOPS_LIMIT)):
        if client not in trusted:
            break
        if word.strip(b" \t"):  # RFC 9110, 5.6.1: empty elements do not count
            address = _node(word)
            if address is None:
                break
            client = str(address)
    return client


def _quoted(value: bytes) -> bytes:
    """A token as it is, all else as a quoted-string (RFC 9110, 5.6.4)."""
    if _TOKEN.fullmatch(value):
        return value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
