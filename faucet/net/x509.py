"""The names and the validity of a certificate, read from its DER encoding (X.690, RFC 5280).

The `ssl` module tells them of a peer's certificate only, after a handshake that has verified it. Anything that is not a
certificate raises ValueError.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _OID, _OCTETS = 0x30, 0x17, 0x18, 0x06, 0x04

_VERSION, _EXTENSIONS = 0xA0, 0xA3
"""Tags of the optional fields of a TBSCertificate (RFC 5280, 4.1)."""

_DNS_NAME, _IP_ADDRESS = 0x82, 0x87

_ALTERNATIVE_NAMES = bytes((0x55, 0x1D, 0x11))
"""The object identifier of the subject's alternative names, 2.5.29.17 (RFC 5280, 4.2.1.6)."""


class Certificate(NamedTuple):
    """What a certificate says of itself."""

    names: tuple[str, ...]
    """Host names and addresses for which it is valid."""
    not_before: float
    not_after: float
    """Seconds since the epoch."""


def read_certificate(der: bytes) -> Certificate:
    """Parse a certificate. Raises ValueError."""
    certificate = _only(der, _SEQUENCE)
    body = next(_items(certificate), (0, b""))[1]
    fields = [field for field in _items(body) if field[0] != _VERSION]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, …
    if len(fields) < 6 or fields[3][0] != _SEQUENCE:
        raise ValueError("no X.509 certificate")
    moments = [_moment(tag, value) for tag, value in _items(fields[3][1])]
    if len(moments) != 2:
        raise ValueError("a certificate without validity")
    extensions = next((value for tag, value in fields if tag == _EXTENSIONS), b"")
    return Certificate(_names(extensions), *moments)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Iterate over the values in `data`, each with its tag. Raises ValueError."""
    position = 0
    while position < len(data):
        tag, length, start = _header(data, position)
        position = start + length
        if position > len(data):
            raise ValueError("a value is longer than what contains it")
        yield tag, data[start:position]


def _header(data: bytes, position: int) -> tuple[int, int, int]:
    """Return the tag and the length of the value at `position`, and where its content starts. Raises ValueError."""
    try:
        tag, length = data[position], data[position + 1]
    except IndexError:
        raise ValueError("a value is cut off") from None
    start = position + 2
    if length < 0x80:
        return tag, length, start
    size = length & 0x7F
    if not 1 <= size <= 4:  # no certificate has 4 GiB
        raise ValueError("a length of unknown form")
    return tag, int.from_bytes(data[start : start + size], "big"), start + size


def _only(data: bytes, expected: int) -> bytes:
    tag, value = next(_items(data), (0, b""))
    if tag != expected:
        raise ValueError("not encoded as a certificate is")
    return value


def _moment(tag: int, value: bytes) -> float:
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("an invalid moment")
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text  # RFC 5280, 4.1.2.5.1
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _names(extensions: bytes) -> tuple[str, ...]:
    """Return the alternative names in the field `extensions`, which may be empty."""
    if not extensions:
        return ()
    for _, extension in _items(_only(extensions, _SEQUENCE)):
        parts = list(_items(extension))
        if parts and parts[0] == (_OID, _ALTERNATIVE_NAMES) and parts[-1][0] == _OCTETS:
            return tuple(_name(tag, value) for tag, value in _items(_only(parts[-1][1], _SEQUENCE)) if tag in _SHOWN)
    return ()


_SHOWN = (_DNS_NAME, _IP_ADDRESS)


def _name(tag: int, value: bytes) -> str:
    return str(ipaddress.ip_address(value)) if tag == _IP_ADDRESS else value.decode("ascii", "backslashreplace")
