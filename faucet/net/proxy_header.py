"""The PROXY protocol, versions 1 and 2: a load balancer sends the client's address at the start of a connection.

Bytes in, the client's address out; no sockets, no clock. The rules are those of HAProxy's proxy-protocol.txt; section
numbers below refer to it. An invalid header is rejected at the first byte that cannot belong to one, and the result
never depends on how the bytes were split. The memory for an unfinished header is bounded.

Whether a header must come is a setting and never guessed (section 5): otherwise a client could claim any address.
TLVs after the addresses of version 2 are skipped. That includes the CRC32C, which is optional for receivers: TCP has
checksums of its own, and the sender is configured as trusted.
"""

from __future__ import annotations

import re
from functools import reduce
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

V1_LIMIT = 107
"""Longest line of version 1 by section 2.1, in bytes, its CRLF included."""

V2_LIMIT = 4 * 1024
"""Bytes after the first 16 of version 2. The addresses take 216 at most; the rest is for TLVs, of which the largest
in use is a client's certificate. The format allows 64 KiB, too much memory with 10,000 connections."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first bytes of version 2 (section 2.2)."""

_V2_FIXED = 16
"""Bytes of signature, version and command, family, and length."""

_TCP4, _TCP6 = 0x11, 0x21

_ADDRESS_SIZES = {0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Bytes of the addresses of TCP and UDP over IPv4 and IPv6, and of Unix streams and datagrams."""


class ProxyHeaderError(Exception):
    """A missing or invalid header: the connection must be closed (section 2.1). The message is for the log."""


class Peer(NamedTuple):
    """The address of a client."""

    host: str
    """The address as the log shows it: IPv6 in its shortest form (RFC 5952), IPv4-mapped IPv6 as IPv4."""
    port: int


class ProxyHeaderReader:
    """Reads the header of one connection, however its bytes are split."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    @property
    def started(self) -> bool:
        """Whether part of a header has arrived."""
        return bool(self._data)

    def feed(self, data: bytes) -> tuple[Peer | None, bytes] | None:
        """Return the client's address and the bytes after the header; None if more is needed. Raises ProxyHeaderError.

        The address is None if the header has none (UNKNOWN, LOCAL, AF_UNSPEC, UDP, Unix sockets): then use the address
        of the connection itself. Do not call `feed` again after a result or an error.
        """
        self._data += data
        found = (_version_2 if self._data.startswith(SIGNATURE[:1]) else _version_1)(self._data)
        if found is None:
            return None
        peer, size = found
        rest, self._data = self._data[size:], b""
        return peer, rest


# Each of these functions checks the whole header from its start, since it is short. Checks are in the order of the
# bytes, so that further bytes never change the verdict on earlier ones.


class _Form(NamedTuple):
    """One form of the line of version 1."""

    keyword: bytes
    begun: re.Pattern[bytes]
    """Matches the bytes after the keyword, complete or not; they are complete if the CR is included."""
    address: type[IPv4Address | IPv6Address] | None


def _begun(*parts: bytes) -> re.Pattern[bytes]:
    """Return a pattern for every prefix of the parts in sequence, as in `(?>a(?>b(?>c|)|)|)`.

    Each part must itself match all its nonempty prefixes.
    """
    return re.compile(reduce(lambda rest, part: b"(?>" + part + rest + b"|)", reversed(parts), b""))


# Section 2.1: no leading zeros. The range of a port is checked when the line is complete.
_PORT = rb"(?:0|[1-9][0-9]{0,4}+)"
_HOST4, _HOST6 = rb"[0-9.]{1,15}+", rb"[0-9A-Fa-f:.]{1,39}+"  # inet_ntop writes some IPv6 addresses with dots

_FORMS = (
    _Form(b"PROXY TCP4 ", _begun(_HOST4, b" ", _HOST4, b" ", _PORT, b" ", _PORT, b"\r"), IPv4Address),
    _Form(b"PROXY TCP6 ", _begun(_HOST6, b" ", _HOST6, b" ", _PORT, b" ", _PORT, b"\r"), IPv6Address),
    _Form(b"PROXY UNKNOWN", re.compile(rb"(?> [^\r\n]*+|)\r?+"), None),
)


def _version_1(data: bytes) -> tuple[Peer | None, int] | None:
    """Return the peer and the size of the header in bytes; None if more bytes are needed."""
    line, end, _ = data[:V1_LIMIT].partition(b"\r\n")
    form = next((form for form in _FORMS if line.startswith(form.keyword)), None)
    if form is None:
        if not end and any(form.keyword.startswith(line) for form in _FORMS):
            return None
        raise ProxyHeaderError("the connection does not begin with a PROXY header")
    rest = line[len(form.keyword) :]
    if not form.begun.fullmatch(rest + end[:1]):
        raise ProxyHeaderError("the PROXY line is malformed")
    if end:
        return _told_by_line(rest, form), len(line) + len(end)
    if len(data) >= V1_LIMIT:
        raise ProxyHeaderError(f"the PROXY line is longer than {V1_LIMIT} bytes")
    return None


def _told_by_line(rest: bytes, form: _Form) -> Peer | None:
    """Return the source address in a complete line. The unused destination must be valid, too."""
    if form.address is None:
        return None
    words = rest.decode("ascii").split(" ")
    try:
        source, _ = [form.address(word) for word in words[:2]]
    except AddressValueError as error:
        raise ProxyHeaderError(f"the PROXY line has a wrong address: {error}") from None
    ports = [int(word) for word in words[2:]]
    if max(ports) > 65535:
        raise ProxyHeaderError(f"the PROXY line has a wrong port: {max(ports)}")
    return Peer(_text(source), ports[0])


def _version_2(data: bytes) -> tuple[Peer | None, int] | None:
    """Return the peer and the size of the header in bytes; None if more bytes are needed."""
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise ProxyHeaderError("the connection does not begin with a PROXY header")
    family = _family(data[len(SIGNATURE) : _V2_FIXED - 2])
    if len(data) < _V2_FIXED:
        return None
    length = int.from_bytes(data[_V2_FIXED - 2 : _V2_FIXED], "big")
    if length > V2_LIMIT:
        raise ProxyHeaderError(f"the PROXY header announces {length} bytes; {V2_LIMIT} are allowed")
    if length < _ADDRESS_SIZES.get(family, 0):
        raise ProxyHeaderError(f"the PROXY header announces {length} bytes, too few for its addresses")
    size = _V2_FIXED + length
    return (_told_by_block(family, data[_V2_FIXED:size]), size) if len(data) >= size else None


def _family(octets: bytes) -> int:
    """Return the byte of family and protocol; 0 if it is irrelevant or has not arrived. Raises ProxyHeaderError."""
    if octets[:1] and octets[0] >> 4 != 2:
        raise ProxyHeaderError(f"the PROXY header has the unknown version {octets[0] >> 4}")
    if octets[:1] and octets[0] & 0x0F > 1:
        raise ProxyHeaderError(f"the PROXY header has the unknown command {octets[0] & 0x0F}")
    if len(octets) < 2 or octets[0] & 0x0F == 0:  # LOCAL: the family and the addresses are ignored
        return 0
    if octets[1] >> 4 > 3 or octets[1] & 0x0F > 2:
        raise ProxyHeaderError(f"the PROXY header has the unknown address family 0x{octets[1]:02x}")
    return octets[1]


def _told_by_block(family: int, block: bytes) -> Peer | None:
    """Return the source address of a block: source, destination, source port, destination port, in network order."""
    if family == _TCP4:
        return Peer(str(IPv4Address(block[:4])), int.from_bytes(block[8:10], "big"))
    if family == _TCP6:
        return Peer(_text(IPv6Address(block[:16])), int.from_bytes(block[32:34], "big"))
    return None  # section 2.2: valid but unused here, so treated like AF_UNSPEC


def _text(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
