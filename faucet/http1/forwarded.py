"""The client's address behind proxies: the fields that tell it to the worker, and the trust in fields of other proxies.

Pure functions over the raw bytes of a head that RequestReader has accepted: its lines end in CRLF, and neither CR nor
LF occurs anywhere else, so a CRLF followed by a name and a colon is always a field. Fields are appended after the
others, and all other bytes stay, except for fields that could be mistaken for those of Faucet (`lookalikes`).

A value that a client sends counts as an address only after it was parsed as one, and is believed only as far as the
chain of trusted proxies reaches. The functions return only the text of a parsed address, or the address of the socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from faucet.http1 import grammar

ClientSource = Literal["client", "x-forwarded-for", "x-real-ip"]
"""The source of the client's address in the log: the connection, or a field of a trusted proxy."""

HOPS_LIMIT = 32
"""The most addresses of X-Forwarded-For that are examined: more than any chain has, to bound the cost of 64 KiB."""

FORWARDED = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded")
"""The field names in the result of `forwarded_fields`."""

UNIX_PEER = "unix"
"""The placeholder for the address of a client of a Unix socket."""

_TOKEN = re.compile(grammar.TOKEN)
_FIELD_VALUE = re.compile(grammar.FIELD_VALUE)

# Some proxies add a port, which RFC 7239, 6 allows too. A zone (`%eth0`) is not accepted: it can be any text.
_NODE = re.compile(rb"([0-9.]++)(?>:[0-9]{1,5}+|)|\[([0-9A-Fa-f:.]++)\](?>:[0-9]{1,5}+|)|([0-9A-Fa-f:.]++)")

_UUID_TIME_BITS = 48


class Trust:
    """The networks whose proxies are trusted."""

    __slots__ = ("_networks", "_text", "_unix_socket")

    def __init__(self, text: str = "") -> None:
        """Parse e.g. `10.0.0.0/8, ::1, unix`: networks, addresses, Unix sockets. Empty: none. Raises ValueError."""
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
    """Return the raw head with `fields` (names and values) appended in order; all other bytes are unchanged.

    Raises ValueError if `head` does not end in an empty line, or for an invalid field name or value: a line break in
    one would start another field, or another request.
    """
    if not head.endswith(b"\r\n\r\n"):
        raise ValueError("the head does not end in an empty line")
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"no field: {name!r}: {value!r}")
    return head[:-2] + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"


def lookalikes(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Return the pattern with which `without` removes fields that a worker may mistake for those of `names`.

    CGI names of fields (`HTTP_X_FORWARDED_FOR`, which httpuv and WSGI use as well) have `_` for `-`, so there
    `X_Forwarded-For` is X-Forwarded-For too, and with httpuv it wins over the real field. Without `names`, the pattern
    matches nothing.
    """
    written = b"|".join(re.escape(name).replace(b"\\-", b"[-_]") for name in names)
    return re.compile(rb"\r\n(?=[^:\r_]*+_)(?:" + (written or b"(?!)") + rb"):[^\r]*+", re.IGNORECASE)


def without(raw_head: bytes, fields: re.Pattern[bytes]) -> bytes:
    """Return the raw head without the fields that match; all other bytes are unchanged."""
    return fields.sub(b"", raw_head)


def has_field(raw_head: bytes, name: bytes) -> bool:
    """Whether there is a field `name`. Case is ignored."""
    return b"\r\n" + name.lower() + b":" in raw_head.lower()


def forwarded_fields(client_host: str, scheme: str, host: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return X-Forwarded-For, X-Forwarded-Proto and Forwarded (RFC 7239) for one hop, for append_fields.

    `client_host` is the address of the connected peer; any other text (a Unix socket) becomes `unknown` (RFC 7239,
    6.2). `host` is the Host field, left out if it is None, empty, or invalid as a field value.

    These fields are appended after the client's own fields of the same name: X-Forwarded-For and Forwarded are lists,
    whose lines are read as one (RFC 9110, 5.3), and only the right end can be trusted. X-Forwarded-Proto is not a list:
    if a trusted proxy has sent one, the caller leaves out this one, since the proxy knows the client's scheme.
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
    """Return the client's address for the log: `peer_host`, unless a trusted peer names another in the field `how`.

    X-Forwarded-For is read from the right, several lines as one, for as long as the addresses are trusted. The result
    is the first address that is not trusted, or the last valid address. X-Real-IP must be one address in one line: of
    two lines, either may be the client's.
    """
    if how == "x-forwarded-for":
        return _last_untrusted(_values(raw_head, b"x-forwarded-for"), peer_host, trusted)
    if how == "x-real-ip" and peer_host in trusted:
        values = _values(raw_head, b"x-real-ip")
        address = _node(values[0]) if len(values) == 1 else None
        return peer_host if address is None else str(address)
    return peer_host


def uuid7(now_ms: int, random: Callable[[int], bytes]) -> str:
    """Return a UUID of version 7 (RFC 9562, 5.7) for `now_ms`, milliseconds since 1970; `random(n)` returns n bytes.

    UUIDs of the same millisecond are in no order: they only name requests, and the log has the times. Raises ValueError
    for a time before 1970 or beyond 48 bits.
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
    # IPv4-mapped addresses are compared as IPv4, so networks within ::ffff:0:0/96 must be IPv4, too.
    return network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))


def _meant(word: str) -> str:
    """Return what the user may have meant. The usual mistake is bits after the prefix, as in 10.0.0.1/8."""
    try:
        return f"{ip_network(word, strict=False)}, or {word.partition('/')[0]} for that address alone"
    except ValueError:
        return "10.0.0.0/8, 192.168.1.7, fd00::/8, ::1, or unix"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, without its zone, which has no meaning elsewhere. IPv4-mapped IPv6 becomes IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _node(value: bytes) -> IPv4Address | IPv6Address | None:
    """Parse an address that a proxy sent, with or without a port. None if it is invalid."""
    match = _NODE.fullmatch(value.strip(b" \t"))
    return None if match is None else _address((match[1] or match[2] or match[3]).decode("ascii"))


def _values(raw_head: bytes, name: bytes) -> list[bytes]:
    """Return the values of the fields `name` (in lower case), in order, with surrounding blanks."""
    lower, start, values = raw_head.lower(), b"\r\n" + name + b":", []
    at = lower.find(start)
    while at >= 0:
        end = raw_head.find(b"\r\n", at + 2)
        values.append(raw_head[at + len(start) : end])
        at = lower.find(start, end)
    return values


def _last_untrusted(values: list[bytes], peer_host: str, trusted: Trust) -> str:
    client = peer_host
    # Splitting from the right leaves all words beyond the limit in the first part, which then is not an address.
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
    """Return a token unchanged, any other value as a quoted-string (RFC 9110, 5.6.4)."""
    if _TOKEN.fullmatch(value):
        return value
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
