"""The lines between a relay and the active with data outside of HTTP, before each request and each response.

    faucet-request/1 7 6f1c2a9e 0.250 10.0.3.17        the epoch, the request's id, how long it has waited, its client
    faucet-answer/1 7 begun                            the response follows
    faucet-answer/1 7 not-begun                        nothing follows: take it elsewhere, whatever its method

Behind its line, a request or response is on the wire as always, byte for byte. A line that is not exactly as above
means that the other end is none of ours: the connection is of no use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFACE_LIMIT = 512
"""Longest line, in bytes: a client's address may be an IPv6 address with a zone, and a client may choose the id."""

_REQUEST = re.compile(
    rb"faucet-request/1 (0|[1-9][0-9]{0,9}) ([!-~]{1,200}) ([0-9]{1,9}\.[0-9]{3}) ([!-~]{1,200})\n"
)  # fmt: skip
_ANSWER = re.compile(rb"faucet-answer/1 (0|[1-9][0-9]{0,9}) (begun|not-begun)\n")


class PrefaceError(Exception):
    """The peer does not follow the protocol between members."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """The data that the active needs about a relayed request."""

    epoch: int
    """The epoch of the active that the relay addresses. The active of another epoch refuses."""
    request_id: str
    waited: float
    """Seconds since the request was complete, to the millisecond."""
    client: str
    """The address of the client."""

    def encode(self) -> bytes:
        """Return the line. Raises ValueError for an invalid id or address."""
        line = f"faucet-request/1 {self.epoch} {self.request_id} {self.waited:.3f} {self.client}\n"
        if not _REQUEST.fullmatch(encoded := line.encode("latin-1", "replace")):
            raise ValueError(f"invalid line before a request: {line!r}")
        return encoded


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """The data that a relay needs before the response."""

    epoch: int
    begun: bool
    """Whether a response follows. If not, the request has been sent to no pod, and never will be."""

    def encode(self) -> bytes:
        """Return the line."""
        return f"faucet-answer/1 {self.epoch} {'begun' if self.begun else 'not-begun'}\n".encode("ascii")


class RequestLineReader:
    """Reads the line before one request, which may arrive in pieces."""

    def __init__(self) -> None:
        self._line = _Line()

    def feed(self, data: bytes) -> tuple[RequestLine, bytes] | None:
        """Return the line and the bytes behind it; None while it is incomplete. Raises PrefaceError."""
        if (taken := self._line.feed(data)) is None:
            return None
        line, rest = taken
        if (match := _REQUEST.fullmatch(line)) is None:
            raise PrefaceError(f"invalid line before a request: {line[:80]!r}")
        epoch, request_id, waited, client = match.groups()
        return RequestLine(int(epoch), request_id.decode(), float(waited), client.decode()), rest


class AnswerLineReader:
    """Reads the line before one response, which may arrive in pieces."""

    def __init__(self) -> None:
        self._line = _Line()

    def feed(self, data: bytes) -> tuple[AnswerLine, bytes] | None:
        """Return the line and the bytes behind it; None while it is incomplete. Raises PrefaceError."""
        if (taken := self._line.feed(data)) is None:
            return None
        line, rest = taken
        if (match := _ANSWER.fullmatch(line)) is None:
            raise PrefaceError(f"invalid line before an answer: {line[:80]!r}")
        return AnswerLine(int(match[1]), match[2] == b"begun"), rest


class _Line:
    """The first line of what is fed."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        self._buffer += data
        end = self._buffer.find(b"\n", 0, PREFACE_LIMIT)
        if end >= 0:
            return self._buffer[: end + 1], self._buffer[end + 1 :]
        if len(self._buffer) >= PREFACE_LIMIT:
            raise PrefaceError(f"invalid line between members: {self._buffer[:80]!r}")
        return None
