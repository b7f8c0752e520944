"""Framers find the end of a message body.

`feed(data)` returns the index behind the last byte of `data` that belongs to the body; `done` says that the body is
complete. Framers count and check, but keep no body bytes, so that a body of any size passes through unchanged and in
bounded memory. The result does not depend on how the bytes were split.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from faucet.http1 import grammar
from faucet.http1.errors import FramingError
from faucet.http1.limits import CHUNK_LINE_LIMIT, FIELD_COUNT_LIMIT, LARGEST_LENGTH, TRAILER_LIMIT

FORBIDDEN_TRAILERS = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"te", b"trailer"),
        *(b"connection", b"proxy-connection", b"keep-alive", b"upgrade", b"http2-settings"),
        *(b"host", b"expect", b"max-forwards", b"proxy-authorization", b"proxy-authenticate"),
    )
)
"""Fields of message framing, connection management (RFC 9110, 7.6.1) and routing, which RFC 9110, 6.5.1 bars from
trailers.

Measured: Node 20 applies `Connection` and `Proxy-Connection: close` from a trailer without announcing it, and answers
the next request, of any client, with 400; httpuv closes the connection, and both stop at a Content-Length. Go ignores
trailers of such names. A recipient may discard them, but a proxy that forwards bytes unchanged has to refuse them.
"""

ErrorFactory = Callable[[int, str], FramingError]


class Body:
    """A framer, which finds the end of a body. Not a typing.Protocol: compiled, those are called like any object."""

    __slots__ = ("done",)

    done: bool
    """Whether the message is complete."""

    def feed(self, data: bytes) -> int:
        """Return the index behind the last byte of `data` that belongs to the body. Raises FramingError."""
        raise NotImplementedError

    def ends_at_eof(self) -> bool:
        """Whether the message is complete when the connection ends here."""
        raise NotImplementedError


class LengthBody(Body):
    """A body of a known length (RFC 9112, 6.3, item 6)."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> int:
        """See Body.feed."""
        if len(data) < self._left:
            self._left -= len(data)
            return len(data)
        end = self._left
        self._left = 0
        self.done = True
        return end

    def ends_at_eof(self) -> bool:
        """Return False unless the body is complete: the missing bytes were announced."""
        return self.done


class UntilCloseBody(Body):
    """The body of a response that is delimited by the close of the connection (RFC 9112, 6.3, item 8)."""

    __slots__ = ()

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> int:
        """See Body.feed."""
        return len(data)

    def ends_at_eof(self) -> bool:
        """Return True: the close of the connection ends the body."""
        return True


class _Expect(Enum):
    SIZE = 1
    DATA = 2
    DATA_END = 3
    TRAILER = 4


class ChunkedBody(Body):
    """A body in chunks (RFC 9112, 7.1), its trailer section included.

    `error` makes the exception from a status and a sentence. `limit` is the most content bytes allowed, None for any
    number; a chunk that would exceed it raises 413 before its data. `turn` is the most chunks that one `feed` takes:
    it then returns early, so that the caller can give other callbacks of the loop a turn before it feeds the rest.
    """

    __slots__ = (
        "_chunks_left",
        "_content",
        "_error",
        "_expect",
        "_left",
        "_limit",
        "_line",
        "_trailer_size",
        "_trailers",
        "_turn",
    )

    def __init__(self, error: ErrorFactory, limit: int | None = None, turn: int | None = None) -> None:
        self.done = False
        self._error = error
        self._limit = limit
        self._expect = _Expect.SIZE
        self._line = bytearray()  # the received part of an incomplete line
        self._left = 0  # missing bytes of the current chunk's data
        self._content = 0
        self._trailer_size = 0  # bytes of the complete trailer lines
        self._trailers = 0
        self._turn = turn
        self._chunks_left = 0  # chunks that may still be taken in this turn

    def feed(self, data: bytes) -> int:
        """See Body.feed. Raises an exception made by `error`, with status 400, 413 or 431."""
        position, size = 0, len(data)
        self._chunks_left = self._turn or size
        while position < size and not self.done and self._chunks_left:
            match self._expect:
                case _Expect.DATA:
                    position = self._take_data(position, size)
                case _Expect.SIZE:
                    position = self._take_size_line(data, position)
                case _Expect.DATA_END:
                    position = self._take_data_end(data, position)
                case _Expect.TRAILER:
                    position = self._take_trailer_line(data, position)
        return position

    def ends_at_eof(self) -> bool:
        """Return False unless the body is complete: the last chunk is missing."""
        return self.done

    def _take_data(self, position: int, size: int) -> int:
        taken = min(self._left, size - position)
        self._left -= taken
        if not self._left:
            self._expect = _Expect.DATA_END
        return position + taken

    def _take_size_line(self, data: bytes, position: int) -> int:
        if not self._line and (match := grammar.CHUNK_LINE.match(data, position)):
            if match.end() - position > CHUNK_LINE_LIMIT:
                raise self._too_long_size_line()
            self._begin_chunk(int(match[1], 16))
            return match.end()
        position = self._take_line(data, position)
        if len(self._line) > CHUNK_LINE_LIMIT:
            raise self._too_long_size_line()
        if match := grammar.CHUNK_LINE.fullmatch(self._line):
            size = int(match[1], 16)
            self._line.clear()
            self._begin_chunk(size)
        elif not grammar.CHUNK_LINE_BEGIN.fullmatch(self._line):
            raise self._bad_size_line()
        return position

    def _bad_size_line(self) -> FramingError:
        if grammar.CHUNK_SIZE_BEGIN.match(self._line):
            return self._error(400, "A chunk's extension is not `;name` or `;name=value`.")
        return self._error(400, "A chunk does not start with its size in hexadecimal digits.")

    def _begin_chunk(self, size: int) -> None:
        if size > LARGEST_LENGTH:
            raise self._error(400, "A chunk's size has more than 63 bits.")
        self._chunks_left -= 1
        self._content += size
        if self._limit is not None and self._content > self._limit:
            raise self._error(413, f"The body is longer than {self._limit} bytes.")
        self._left = size
        self._expect = _Expect.DATA if size else _Expect.TRAILER

    def _take_data_end(self, data: bytes, position: int) -> int:
        end = position + 2 - len(self._line)
        self._line += data[position:end]
        if not b"\r\n".startswith(self._line):
            raise self._error(400, "A chunk's data is not followed by CRLF.")
        if len(self._line) == 2:
            self._line.clear()
            self._expect = _Expect.SIZE
        return min(end, len(data))

    def _take_trailer_line(self, data: bytes, position: int) -> int:
        looked_at = max(len(self._line) - 1, 0)  # a CR, whose LF may come now
        end = self._take_line(data, position)
        self._check_trailer_octets(looked_at, TRAILER_LIMIT - self._trailer_size)
        if self._trailer_size + len(self._line) > TRAILER_LIMIT:
            raise self._error(431, f"The trailer section is longer than {TRAILER_LIMIT} bytes.")
        if self._line == b"\r\n":
            self.done = True
        elif self._line.endswith(b"\n"):
            self._judge_trailer(bytes(self._line))
            self._trailer_size += len(self._line)
            self._line.clear()
        return end

    def _check_trailer_octets(self, start: int, limit: int) -> None:
        """Raise 400 for an illegal octet before the limit: the first error in the order of the bytes decides."""
        illegal = grammar.HEAD_ILLEGAL.search(self._line, start)
        if illegal is None or illegal.start() >= limit or self._line[illegal.start() :] == b"\r":
            return
        raise self._error(400, "A trailer field contains a control octet.")

    def _judge_trailer(self, line: bytes) -> None:
        self._trailers += 1
        if self._trailers > FIELD_COUNT_LIMIT:
            raise self._error(431, f"The trailer section has more than {FIELD_COUNT_LIMIT} fields.")
        if not grammar.FIELDS.fullmatch(line):
            raise self._error(400, "A trailer field is not `name: value`.")
        name = line.partition(b":")[0].lower()
        if name in FORBIDDEN_TRAILERS:
            raise self._error(400, f"{name.decode().title()} is not allowed in a trailer.")

    def _take_line(self, data: bytes, position: int) -> int:
        """Append the bytes up to and including the next LF to the line. Return the index behind them."""
        end = data.find(b"\n", position) + 1 or len(data)
        self._line += data[position:end]
        return end

    def _too_long_size_line(self) -> FramingError:
        return self._error(400, f"A chunk's size line is longer than {CHUNK_LINE_LIMIT} bytes.")
