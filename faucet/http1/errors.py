"""What can be wrong with a message, and the status that says so.

The framing code raises; it never answers, logs or closes. Whoever owns the connection decides what the
exception means there: for a client an answer with `status`, for a backend a 502 or a cut connection.
"""

from __future__ import annotations


class FramingError(Exception):
    """A message whose framing or syntax is not beyond doubt.

    `status` is the HTTP status code to answer a client with, `detail` one sentence for a person.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class BadRequest(FramingError):
    """A request that is refused: not one byte of it may reach a backend."""


class BadResponse(FramingError):
    """A response that cannot be relayed. The status is 502 (RFC 9110, 15.6.3)."""

    def __init__(self, detail: str) -> None:
        super().__init__(502, detail)
