"""HTTP/1.1 framing without I/O: bytes in, messages out. No sockets, no clock, no logging.

The package finds where messages begin and end (RFC 9112), and rejects messages that two parsers could read differently.
Parsing changes no byte of a message, except that `fields.without_upgrade` removes some fields. Parsing is on bytes,
never on str. Imported by `proxy`, `admin`, `pods` and the packages above them; imports only the standard library.
"""

from faucet.http1.body import Body, ChunkedBody, LengthBody, UntilCloseBody
from faucet.http1.content import ResponseContent
from faucet.http1.errors import BadRequest, BadResponse, FramingError
from faucet.http1.limits import INTERIM_LIMIT
from faucet.http1.messages import (
    IDEMPOTENT,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
    StartLine,
    parse_request,
    parse_response,
)

__all__ = [
    "IDEMPOTENT",
    "INTERIM_LIMIT",
    "BadRequest",
    "BadResponse",
    "Body",
    "ChunkedBody",
    "FramingError",
    "LengthBody",
    "RequestHead",
    "RequestReader",
    "ResponseContent",
    "ResponseHead",
    "ResponseReader",
    "StartLine",
    "UntilCloseBody",
    "parse_request",
    "parse_response",
]
