"""Checks a head while it arrives: each byte once, line by line, in order.

The result must not depend on how the bytes were split. So the first error in the order of the bytes decides: a line is
checked when it is complete, an illegal octet as soon as it is seen. The fast path (a valid head that arrives whole)
does not use the scanner. An invalid head that arrives whole does, and gets the same error as if it had arrived byte by
byte.
"""

from __future__ import annotations

import re
from typing import Final

from faucet.http1 import grammar
from faucet.http1.errors import BadRequest, BadResponse, FramingError
from faucet.http1.limits import EMPTY_LINES_LIMIT, FIELD_COUNT_LIMIT, HEAD_LIMIT

_FIELD_LINE: Final = re.compile(grammar.FIELD_LINE[:-4])
"""One field line without its CRLF."""


TLS_HANDSHAKE: Final = 0x16
"""The first octet of a connection that speaks TLS (RFC 8446, 5.1)."""


class HeadScanner:
    """Collects and checks one head. Subclasses check the start line and make the exceptions."""

    __slots__ = ("_buffer", "_empty_lines", "_fields", "_line_start", "_start")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0  # index of the start line, behind skipped empty lines
        self._line_start = 0  # index of the line that is not complete yet
        self._fields = -1  # field lines so far; -1: the start line is still to come
        self._empty_lines = 0

    @property
    def begun(self) -> bool:
        """Whether bytes of the start line have arrived, not just empty lines before it."""
        return len(self._buffer) > self._start

    @property
    def seen(self) -> bytes:
        """The bytes received so far, empty lines before the start line included."""
        return bytes(self._buffer)

    @property
    def size(self) -> int:
        """The number of bytes received so far."""
        return len(self._buffer)

    def feed(self, data: bytes) -> bytes | None:
        """Take more bytes. Once the head is complete, return the head and the bytes behind it.

        Raises FramingError at the first error. After a result or an error, the scanner cannot be used again.
        """
        # A CRLF may have been split: check the previous byte again.
        looked_at = max(len(self._buffer) - 1, 0)
        self._buffer += data
        illegal = self._illegal_octet(looked_at)
        legal_end = len(self._buffer) if illegal is None else illegal
        if self._judge_lines(looked_at, legal_end):
            return bytes(self._buffer[self._start :])
        if illegal is not None and illegal < self._limit:
            raise self._illegal_error(illegal)
        if len(self._buffer) > self._limit:
            raise self._too_long()
        return None

    @property
    def _limit(self) -> int:
        return self._start + HEAD_LIMIT

    def _illegal_octet(self, start: int) -> int | None:
        """Return the index of the first illegal octet from `start` up to the limit; None if there is none."""
        match = grammar.HEAD_ILLEGAL.search(self._buffer, start, self._limit + 1)
        if match is None:
            return None
        position = match.start()
        undecided = position == len(self._buffer) - 1 and self._buffer[position] == 0x0D
        return None if undecided else position

    def _judge_lines(self, looked_at: int, legal_end: int) -> bool:
        """Check the lines that are complete before `legal_end`. Return whether the head ended with one of them."""
        while True:
            end = self._buffer.find(b"\r\n", max(self._line_start, looked_at), legal_end)
            if end < 0 or end + 2 > self._limit:
                return False
            line = bytes(self._buffer[self._line_start : end])
            self._line_start = end + 2
            if self._judge_line(line):
                return True

    def _judge_line(self, line: bytes) -> bool:
        if self._fields < 0:
            if line:
                self.judge_start_line(line)
                self._fields = 0
            else:
                self._skip_empty_line()
            return False
        if not line:
            return True
        self._fields += 1
        if self._fields > FIELD_COUNT_LIMIT:
            raise self.error(431, f"The message has more than {FIELD_COUNT_LIMIT} fields.")
        if not _FIELD_LINE.fullmatch(line):
            raise self.error(400, f"Field line {self._fields} is not `name: value`.")
        return False

    def _skip_empty_line(self) -> None:
        """Skip an empty line before a request, which neither belongs to the request nor counts towards its length."""
        self._empty_lines += 1
        if self._empty_lines > EMPTY_LINES_LIMIT:
            raise self.error(400, "There are too many empty lines before the start line.")
        self._start = self._line_start

    def _illegal_error(self, position: int) -> FramingError:
        octet = self._buffer[position]
        name = {0x0A: "a LF without CR", 0x0D: "a CR without LF"}.get(octet, f"the control octet 0x{octet:02x}")
        return self.error(400, f"The head contains {name}.")

    def _too_long(self) -> FramingError:
        if self._fields < 0:
            return self.error(414, f"The start line is longer than {HEAD_LIMIT} bytes.")
        return self.error(431, f"The head is longer than {HEAD_LIMIT} bytes.")

    def judge_start_line(self, line: bytes) -> None:
        """Raise FramingError if `line`, without its CRLF, is not a valid start line."""
        raise NotImplementedError

    def error(self, status: int, detail: str) -> FramingError:
        """Return the exception for an error."""
        raise NotImplementedError


class RequestScanner(HeadScanner):
    """A scanner of request heads."""

    __slots__ = ()

    def _illegal_error(self, position: int) -> FramingError:
        """Return the error for an illegal octet. The first one of TLS says more than that it is illegal."""
        if position == 0 and self._buffer[0] == TLS_HANDSHAKE:
            return self.error(400, "The client speaks TLS (https://…), and this port speaks plain HTTP.")
        return super()._illegal_error(position)

    def judge_start_line(self, line: bytes) -> None:
        """Raise BadRequest (400, 505) if `line` is not a request line of HTTP/1.x."""
        if grammar.REQUEST_LINE.fullmatch(line):
            return
        if grammar.ANY_VERSION_LINE.fullmatch(line):
            raise BadRequest(505, "This version of HTTP is not supported; use HTTP/1.1.")
        raise BadRequest(400, "The request line is not `method target HTTP/1.1`.")

    def error(self, status: int, detail: str) -> FramingError:
        """Return a BadRequest."""
        return BadRequest(status, detail)


class ResponseScanner(HeadScanner):
    """A scanner of response heads."""

    __slots__ = ()

    def judge_start_line(self, line: bytes) -> None:
        """Raise BadResponse if `line` is not a status line of HTTP/1.x."""
        if not grammar.STATUS_LINE.fullmatch(line):
            raise BadResponse("The worker's status line is not `HTTP/1.1 200 reason`.")

    def _skip_empty_line(self) -> None:
        raise BadResponse("The worker's response starts with an empty line.")

    def error(self, status: int, detail: str) -> FramingError:
        """Return a BadResponse, whose status is always 502."""
        return BadResponse(f"In the worker's response: {detail}")
