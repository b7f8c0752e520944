"""The content of a response: its body without chunk sizes, extensions and trailers.

The proxy does not need the content, since it relays bodies unchanged; a client of an API does.
"""

from __future__ import annotations

from faucet.http1.body import Body, ChunkedBody
from faucet.http1.errors import BadResponse
from faucet.http1.messages import ResponseHead


class ResponseContent:
    """Extracts the content from the body of one response."""

    __slots__ = ("_body",)

    def __init__(self, head: ResponseHead, method: bytes) -> None:
        body = head.body(method)
        self._body: Body = _SpansOfChunks() if isinstance(body, ChunkedBody) else body

    @property
    def done(self) -> bool:
        """Whether the message is complete."""
        return self._body.done

    def feed(self, data: bytes) -> bytes:
        """Return the content in `data`, without bytes behind the end of the message. Raises BadResponse."""
        end = self._body.feed(data)
        if isinstance(self._body, _SpansOfChunks):
            return b"".join(data[start:stop] for start, stop in self._body.take_spans())
        return data[:end]

    def ends_at_eof(self) -> bool:
        """Whether the message is complete when the connection ends here."""
        return self._body.ends_at_eof()


class _SpansOfChunks(ChunkedBody):
    """A ChunkedBody that remembers the positions of chunk data in the bytes of the last `feed`."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        super().__init__(lambda _status, detail: BadResponse(detail))
        self._spans: list[tuple[int, int]] = []

    def take_spans(self) -> list[tuple[int, int]]:
        """Return the spans of chunk data (start, stop), and clear them."""
        spans, self._spans = self._spans, []
        return spans

    def _take_data(self, position: int, size: int) -> int:
        end = super()._take_data(position, size)
        self._spans.append((position, end))
        return end
