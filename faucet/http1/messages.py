"""Parses heads: from bytes to the few facts that a proxy needs, or to an exception that names the error.

A valid head that arrives whole takes the fast path: two partitions, one small regular expression, one look-up. All
other heads go through a HeadScanner, which alone reports syntax errors. The bytes of a head are kept unchanged, to be
forwarded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from faucet.http1 import grammar
from faucet.http1.body import Body, ChunkedBody, LengthBody, UntilCloseBody
from faucet.http1.errors import BadRequest, BadResponse
from faucet.http1.fields import RequestFields, ResponseFields, is_host, request_fields, response_fields, without_upgrade
from faucet.http1.limits import CHUNKS_PER_TURN, EMPTY_LINES_LIMIT, HEAD_LIMIT
from faucet.http1.scanner import HeadScanner, RequestScanner, ResponseScanner

KEPT_HEAD_LIMIT: Final = 1024
"""Bytes of the longest response head that is cached; with KEPT_HEADS it bounds the memory to 1 MiB. Many responses of
one second have identical heads, Date included. Of requests only the fields are cached, since their targets differ."""

KEPT_HEADS: Final = 1024

IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods that may be sent again after a connection has ended before the response was complete (RFC 9110, 9.2.2)."""


class RequestHead:
    """The head of one request. `raw` is the bytes to forward."""

    __slots__ = ("fields", "method", "minor", "raw", "stated_minor", "target")

    def __init__(self, raw: bytes, method: bytes, target: bytes, stated_minor: int, fields: RequestFields) -> None:
        self.raw = raw
        self.method = method
        self.target = target
        self.stated_minor = stated_minor
        """The minor version that the client stated: for the log."""
        self.minor = _known_minor(stated_minor)
        """The minor version as which the request is handled: 0 or 1."""
        self.fields = fields

    @property
    def websocket(self) -> bool:
        """Whether the request asks for a WebSocket (RFC 6455, 4.1)."""
        return self.fields.websocket and self.method == b"GET"

    def body(self, limit: int | None) -> Body | None:
        """Return the framer of the body; None if there is no body. Raises BadRequest 413 beyond `limit` bytes."""
        length = self.fields.length
        if length == 0:
            return None
        if length is None:
            return ChunkedBody(BadRequest, limit, CHUNKS_PER_TURN)
        if limit is not None and length > limit:
            raise BadRequest(413, f"The body is longer than {limit} bytes.")
        return LengthBody(length)


class ResponseHead:
    """The head of one response. `raw` is the bytes to relay. Do not modify it: it may be cached and shared."""

    __slots__ = ("fields", "raw", "status")

    def __init__(self, raw: bytes, status: int, fields: ResponseFields) -> None:
        self.raw = raw
        self.status = status
        self.fields = fields

    def for_older_client(self, request: RequestHead) -> ResponseHead:
        """Return the head for a client of HTTP/1.0, whose connection persists only if both sides send `keep-alive`.

        HTTP/1.1 in the status line could make the client believe that the connection persists, so `Connection: close`
        is added if it does not (RFC 9112, 9.3 and 9.6). `fields` still has the facts of the worker's head.
        """
        if self.fields.keep_alive or not (self.fields.persistent and request.fields.persistent):
            return self
        return ResponseHead(self.raw[:-2] + b"Connection: close\r\n\r\n", self.status, self.fields)

    def body_may_follow(self, method: bytes) -> bool:
        """Whether a body may follow where none is allowed, so that its bytes do not belong to the message.

        Plumber answers HEAD with a body, and an API may set `Content-Length: 0` itself and still have a body: httpuv
        then sends the body a moment after the head. It could not be told from the next message on that connection.
        """
        if method == b"HEAD":
            return True
        length, chunked = self.fields.length, self.fields.chunked
        return chunked or length is not None if self.status in (204, 304) else length == 0

    def body(self, method: bytes) -> Body:
        """Return the framer of the body of this response to a request with `method` (RFC 9112, 6.3)."""
        status, fields = self.status, self.fields
        if method == b"HEAD" or status in (204, 304) or status < 200:
            return LengthBody(0)
        if fields.chunked:
            return ChunkedBody(_bad_chunk)
        return UntilCloseBody() if fields.length is None else LengthBody(fields.length)


def parse_request(data: bytes) -> tuple[RequestHead, bytes] | None:
    """Return the head at the start of `data`, and the bytes behind it.

    Returns None if the head is incomplete or its syntax is invalid: a RequestScanner tells which. Raises BadRequest if
    the syntax is valid but the message must not be forwarded.
    """
    text, end, rest = data.partition(b"\r\n\r\n")
    if not end or len(text) + 4 > HEAD_LIMIT:
        return None
    first, end, section = text.partition(b"\r\n")
    line = grammar.REQUEST_LINE.fullmatch(first)
    if line is None:
        return _behind_empty_lines(data)
    method, target, version = line.groups()
    minor = version[0] - 0x30
    section = section + end  # compiled, += is slower; the CRLF of the last field, or nothing if there are no fields
    fields = request_fields(section, _known_minor(minor))
    if fields is None:
        return None
    if target[0] != 0x2F or method == b"CONNECT":
        _check_target(method, target, fields)
    head = RequestHead(data[: len(text) + 4] if rest else data, method, target, minor, fields)
    if fields.upgrade and not head.websocket:
        head.raw = first + b"\r\n" + without_upgrade(section) + b"\r\n"
    return head, rest


def parse_response(data: bytes) -> tuple[ResponseHead, bytes] | None:
    """Return the response head at the start of `data`, as parse_request does. Raises BadResponse."""
    end = data.find(b"\r\n\r\n") + 4
    if not 4 <= end <= HEAD_LIMIT:
        return None
    judge = _kept_response if end <= KEPT_HEAD_LIMIT else _judge_response
    head = judge(data[:end])
    return None if head is None else (head, data[end:])


def _judge_response(raw: bytes) -> ResponseHead | None:
    line_end = raw.find(b"\r\n")
    line = grammar.STATUS_LINE.fullmatch(raw, 0, line_end)
    if line is None:
        return None
    fields = response_fields(raw[line_end + 2 : -2], minor=_known_minor(line[1][0] - 0x30))
    return None if fields is None else ResponseHead(raw, int(line[2]), fields)


_kept_response: Final = lru_cache(KEPT_HEADS)(_judge_response)


_DISAGREE = "scanner and parser disagree about a head"  # they share one grammar


class _HeadReader:
    """Reads heads from a connection, one at a time, however their bytes are split."""

    __slots__ = ("_scanner",)

    def __init__(self) -> None:
        self._scanner: HeadScanner | None = None

    @property
    def size(self) -> int:
        """The received bytes of a head that is incomplete, or was refused before it was complete."""
        return 0 if self._scanner is None else self._scanner.size

    def _scan(self, data: bytes) -> bytes | None:
        """Pass bytes of a head that did not arrive whole to the scanner. Return the head, and what is behind it, once
        it is complete. Raises FramingError; the scanner still has the head then."""
        if self._scanner is None:
            self._scanner = self._new_scanner()
        return self._scanner.feed(data)

    def _new_scanner(self) -> HeadScanner:
        raise NotImplementedError


class StartLine(NamedTuple):
    """The first line of a request."""

    method: bytes
    target: bytes
    minor: int
    """The minor version that the client stated."""


class RequestReader(_HeadReader):
    """Reads request heads."""

    __slots__ = ()

    def start_line(self, data: bytes = b"") -> StartLine | None:
        """Return the start line of a head that is incomplete, or was refused when `data` was fed; None if the start
        line itself is incomplete or invalid."""
        seen = data if self._scanner is None else self._scanner.seen
        line, end, _ = seen.lstrip(b"\r\n").partition(b"\r\n")
        match = grammar.REQUEST_LINE.fullmatch(line) if end else None
        return StartLine(match[1], match[2], match[3][0] - 0x30) if match else None

    @property
    def started(self) -> bool:
        """Whether part of a head has arrived."""
        return self._scanner is not None and self._scanner.begun

    def feed(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return the next head and the bytes behind it; None if more bytes are needed. Raises BadRequest."""
        if self._scanner is None:
            parsed = parse_request(data)
            if parsed is not None:
                return parsed
        whole = self._scan(data)
        if whole is None:
            return None
        parsed = parse_request(whole)
        self._scanner = None
        if parsed is None:
            raise AssertionError(_DISAGREE)
        return parsed

    def _new_scanner(self) -> HeadScanner:
        return RequestScanner()


class ResponseReader(_HeadReader):
    """Reads response heads from a worker's connection."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        super().__init__()
        self._latest: ResponseHead | None = None  # the latest short head, which often comes again

    def feed(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Return the next head and the bytes behind it; None if more bytes are needed. Raises BadResponse."""
        if self._scanner is None:
            latest = self._latest
            if latest is not None and data.startswith(latest.raw):
                return latest, data[len(latest.raw) :]
            parsed = parse_response(data)
            if parsed is not None:
                if len(parsed[0].raw) <= KEPT_HEAD_LIMIT:
                    self._latest = parsed[0]
                return parsed
        whole = self._scan(data)
        if whole is None:
            return None
        parsed = parse_response(whole)
        self._scanner = None
        if parsed is None:
            raise AssertionError(_DISAGREE)
        return parsed

    def _new_scanner(self) -> HeadScanner:
        return ResponseScanner()


def _known_minor(minor: int) -> int:
    """Return 0 or 1: a message of a higher minor version is handled as HTTP/1.1 (RFC 9110, 2.5)."""
    return 1 if minor else 0


def _behind_empty_lines(data: bytes) -> tuple[RequestHead, bytes] | None:
    """Parse a request behind empty lines, as many as a RequestScanner skips: some clients send one after a body."""
    skipped = 0
    while skipped < 2 * EMPTY_LINES_LIMIT and data.startswith(b"\r\n", skipped):
        skipped += 2
    if not skipped or data.startswith(b"\r\n", skipped):
        return None
    return parse_request(data[skipped:])


def _bad_chunk(status: int, detail: str) -> BadResponse:
    return BadResponse(f"In the worker's response: {detail}")


def _check_target(method: bytes, target: bytes, fields: RequestFields) -> None:
    """Check a target that is not in origin-form (RFC 9112, 3.2). Raises BadRequest."""
    if method == b"CONNECT":
        raise BadRequest(501, "CONNECT is not implemented: Faucet is not a tunnel.")
    if target == b"*":
        if method != b"OPTIONS":
            raise BadRequest(400, "The target `*` goes with OPTIONS only.")
        return
    absolute = grammar.ABSOLUTE_FORM.fullmatch(target)
    if absolute is None or not is_host(absolute[2]) or absolute[2].startswith(b":"):
        raise BadRequest(400, "The target is neither a path nor a whole URI.")
    # RFC 9112, 3.2.2 lets the target win; a worker may look at Host, so the two must agree.
    scheme, authority = absolute[1].lower(), absolute[2].lower()
    if fields.host is not None and _normal(scheme, authority) != _normal(scheme, fields.host):
        raise BadRequest(400, "The target and the Host field name different authorities.")


_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def _normal(scheme: bytes, authority: bytes) -> bytes:
    """Return an authority, given in lower case, without an empty port or the scheme's default (RFC 9110, 4.2.3)."""
    port = _DEFAULT_PORTS.get(scheme, b":")
    return authority.removesuffix(port if authority.endswith(port) else b":")
