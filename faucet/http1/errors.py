"""The errors of a message, and their status codes.

The framing code raises; it never answers, logs or closes. The owner of the connection decides what follows: for a
client a response with `status`, for a backend a 502 or a reset of the client's connection.
"""

from __future__ import annotations


class FramingError(Exception):
    """A message whose framing or syntax is invalid or ambiguous.

    `status` is the HTTP status code of the response to the client, `detail` is a sentence for a person.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class BadRequest(FramingError):
    """A request that is refused: no further byte of it may reach a backend."""


class BadResponse(FramingError):
    """A response that cannot be relayed. The status is 502 (RFC 9110, 15.6.3)."""

    def __init__(self, detail: str) -> None:
        super().__init__(502, detail)
