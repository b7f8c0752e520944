"""The facts about framing in the field section of a head. All other fields are ignored.

Parsing a section is a pure function of its bytes, and most clients send the same section again and again with another
request line. So the results are cached: a repeated section costs one hash instead of a parse. A section with a
duplicate or ambiguous framing field raises; such results are not cached.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from faucet.http1 import grammar
from faucet.http1.errors import BadRequest, BadResponse
from faucet.http1.limits import FIELD_COUNT_LIMIT, LARGEST_LENGTH

CACHED_SECTION_LIMIT: Final = 1024
"""Bytes of the longest field section whose result is cached; with CACHED_SECTIONS it bounds the memory to 1 MiB."""

CACHED_SECTIONS: Final = 1024

_EXPONENT = re.compile(rb"[ \t]*+[0-9]++(?>\.[0-9]++|)e\+[0-9]++[ \t]*+")
"""A number in exponential notation, which R prints if it is shorter: plumber sends such a Content-Length for static
files."""

SHOWN_LIMIT = 40
"""The most bytes of a field value that an error message shows."""

_FRAMING_FIELDS: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"host", b"expect", b"upgrade", b"http2-settings")
)

HOP_BY_HOP_UPGRADE = frozenset((b"upgrade", b"http2-settings"))
"""Hop-by-hop fields that ask for another protocol. They are removed unless that protocol is WebSocket."""


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The framing facts of a request's field section."""

    length: int | None
    """Bytes of the body; None if the body is chunked."""
    persistent: bool
    """Whether the client lets the connection persist after this exchange (RFC 9112, 9.3)."""
    expects_continue: bool
    """Whether there is `Expect: 100-continue`, from a client of HTTP/1.1."""
    websocket: bool
    """Whether there are `Connection: upgrade` and `Upgrade: websocket`, and no body."""
    upgrade: bool
    """Whether there is an Upgrade or HTTP2-Settings field."""
    host: bytes | None
    """The Host field, in lower case."""


@dataclass(frozen=True, slots=True)
class ResponseFields:
    """The framing facts of a response's field section."""

    length: int | None
    """Content-Length in bytes, None if absent."""
    chunked: bool
    """Whether the last transfer coding is `chunked`."""
    persistent: bool
    """Whether the worker lets its connection persist after this response (RFC 9112, 9.3)."""
    keep_alive: bool
    """Whether there is `Connection: keep-alive`."""


def request_fields(section: bytes, minor: int) -> RequestFields | None:
    """Parse the field section of a request of HTTP/1.`minor`.

    `section` is the bytes between the request line's CRLF and the empty line. Returns None if its syntax is invalid
    (HeadScanner then says where). Raises BadRequest 400, 417 or 501 if the framing is ambiguous or not supported.
    """
    judge = _cached_request if len(section) <= CACHED_SECTION_LIMIT else _judge_request
    return judge(section, minor)


def response_fields(section: bytes, minor: int) -> ResponseFields | None:
    """Parse the field section of a response, as request_fields does. Raises BadResponse."""
    found = _framing_fields(section)
    if found is None:
        return None
    connection = _tokens(found.get(b"connection", ()))
    return ResponseFields(
        length=_response_length(found),
        chunked=_response_chunked(found, minor),
        persistent=b"close" not in connection and (minor == 1 or b"keep-alive" in connection),
        keep_alive=b"keep-alive" in connection,
    )


def is_host(text: bytes) -> bool:
    """Whether `text` is `uri-host [":" port]` (RFC 9110, 7.2). The host may be empty."""
    match = grammar.HOST.fullmatch(text)
    if match is None or int(match[2] or 0) > 65535:
        return False
    if match[1] is not None:
        try:
            IPv6Address(match[1].decode())
        except AddressValueError:
            return False
    return True


def without_upgrade(section: bytes) -> bytes:
    """Return the section without its Upgrade and HTTP2-Settings lines; all other bytes are unchanged."""
    return b"".join(
        line for line in section.splitlines(keepends=True) if line.partition(b":")[0].lower() not in HOP_BY_HOP_UPGRADE
    )


def _judge_request(section: bytes, minor: int) -> RequestFields | None:
    found = _framing_fields(section)
    if found is None:
        return None
    connection = _tokens(found.get(b"connection", ()))
    upgrades = [value.strip(b" \t").lower() for value in found.get(b"upgrade", ())]
    length = _request_length(found)
    chunked = _request_chunked(found, minor)  # both are checked, regardless of the other
    return RequestFields(
        length=None if chunked else length or 0,
        persistent=b"close" not in connection and (minor == 1 or b"keep-alive" in connection),
        expects_continue=_expects_continue(found) and minor == 1,
        websocket=minor == 1 and b"upgrade" in connection and upgrades == [b"websocket"] and not length and not chunked,
        upgrade=not HOP_BY_HOP_UPGRADE.isdisjoint(found),
        host=_host(found, minor),
    )


_cached_request: Final = lru_cache(CACHED_SECTIONS)(_judge_request)


def _framing_fields(section: bytes) -> dict[bytes, list[bytes]] | None:
    """Return the values of each framing field in order, with surrounding blanks; None if the syntax is invalid."""
    if not grammar.FIELDS.fullmatch(section) or section.count(b"\n") > FIELD_COUNT_LIMIT:
        return None
    found: dict[bytes, list[bytes]] = {}
    for name, value in grammar.NAME_AND_VALUE.findall(section):
        lower = name.lower()
        if lower in _FRAMING_FIELDS:
            found.setdefault(lower, []).append(value)
    return found


def _tokens(values: list[bytes] | tuple[()]) -> set[bytes]:
    return {token.strip(b" \t").lower() for value in values for token in value.split(b",")}


def _request_length(found: dict[bytes, list[bytes]]) -> int | None:
    value = _one_length(found, lambda detail: BadRequest(400, detail))
    if value is None:
        return None
    # RFC 9110, 5.5 allows a tab after the digits, but httpuv's parser fails on it.
    length = None if value.endswith(b"\t") else _number(value)
    if length is None:
        raise BadRequest(400, "Content-Length is not a number of at most 63 bits.")
    return length


def _response_length(found: dict[bytes, list[bytes]]) -> int | None:
    value = _one_length(found, lambda detail: BadResponse(f"In the worker's response: {detail}"))
    if value is None:
        return None
    length = _number(value)
    if length is None:
        hint = "; R writes digits instead with options(scipen = 15)" if _EXPONENT.fullmatch(value) else ""
        raise BadResponse(f"The worker's Content-Length is not a number of at most 63 bits: {_shown(value)}{hint}")
    return length


def _one_length(found: dict[bytes, list[bytes]], error: Callable[[str], Exception]) -> bytes | None:
    """Return the only Content-Length value, None if there is none. Raises `error` for more than one.

    RFC 9112, 6.3 allows several equal lengths, but two parsers may differ on a list, so a list is refused.
    """
    values = found.get(b"content-length")
    if values is None:
        return None
    if b"transfer-encoding" in found:
        raise error("Content-Length and Transfer-Encoding exclude each other.")
    if len(values) > 1:
        raise error("There is more than one Content-Length.")
    return values[0]


def _number(value: bytes) -> int | None:
    digits = value.strip(b" \t")
    length = int(digits) if grammar.LENGTH.fullmatch(digits) else LARGEST_LENGTH + 1
    return length if length <= LARGEST_LENGTH else None


def _shown(value: bytes) -> str:
    """Return a worker's field value for an error message: ASCII, at most SHOWN_LIMIT bytes, escaped if unprintable."""
    text = value.strip(b" \t")
    cut = text if len(text) <= SHOWN_LIMIT else text[: SHOWN_LIMIT - 3] + b"..."
    return ascii(cut.decode("latin-1"))


def _request_chunked(found: dict[bytes, list[bytes]], minor: int) -> bool:
    """Whether the body is chunked. Raises BadRequest for any value that some parser may read differently.

    For example, httpuv does not read `chunked ` with a blank as chunked.
    """
    values = found.get(b"transfer-encoding")
    if values is None:
        return False
    if minor == 0:
        raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding.")
    if len(values) > 1:
        raise BadRequest(400, "There is more than one Transfer-Encoding.")
    coding = values[0].lstrip(b" \t").lower()
    if coding == b"chunked":
        return True
    if coding.rstrip(b" \t") in (b"chunked", b""):
        raise BadRequest(400, "Transfer-Encoding is not exactly `chunked`.")
    raise BadRequest(501, "The only transfer coding known here is `chunked`.")


def _response_chunked(found: dict[bytes, list[bytes]], minor: int) -> bool:
    values = found.get(b"transfer-encoding")
    if values is None:
        return False
    codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
    known = all(grammar.CODING.fullmatch(coding) for coding in codings)
    if minor == 0 or not known or codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
        raise BadResponse(f"The worker's Transfer-Encoding does not end in one `chunked`: {_shown(b','.join(values))}")
    return True


def _expects_continue(found: dict[bytes, list[bytes]]) -> bool:
    """Whether the client expects 100 (RFC 9110, 10.1.1). `Expect` is a list, whose empty members are ignored (5.6.1).

    Raises BadRequest 417 for any other expectation.
    """
    if b"expect" not in found:
        return False
    expectations = _tokens(found[b"expect"]) - {b""}
    if not expectations <= {b"100-continue"}:
        raise BadRequest(417, "The only expectation supported here is `100-continue`.")
    return bool(expectations)


def _host(found: dict[bytes, list[bytes]], minor: int) -> bytes | None:
    values = found.get(b"host", [])
    if len(values) > 1:
        raise BadRequest(400, "There is more than one Host.")
    if not values:
        if minor == 1:
            raise BadRequest(400, "A request of HTTP/1.1 needs a Host field.")
        return None
    host = values[0].strip(b" \t").lower()
    if not is_host(host):
        raise BadRequest(400, "The Host field is not `host` or `host:port`.")
    return host
