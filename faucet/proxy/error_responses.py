"""The error responses that Faucet itself generates: complete, small, and readable by people and programs.

Each is `application/problem+json` (RFC 9457) and has a Proxy-Status field (RFC 9209). Responses of workers have no such
field, so a caller can tell the two apart.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from time import time

from faucet.http1.dates import http_date
from faucet.proxy.fencing import OLDER_EPOCH

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_PROXY_ERRORS = {
    502: "connection_terminated",
    503: "connection_limit_reached",
    504: "http_response_timeout",
    500: "proxy_internal_error",
}
"""The proxy error type of each status (RFC 9209, 2.3). All other statuses use `http_request_error`."""

QUEUE_FULL = "All workers are busy and the queue is full."

NOT_BEGUN = b'error=connection_limit_reached; details="not begun"\r\n'
"""The end of a Proxy-Status field which says that no worker has begun the request. Another Faucet in front may then
send the request elsewhere, whatever its method."""


def answer(
    status: int, detail: str, *, method: bytes = b"GET", close: bool = True, retry_after: int | None = None
) -> bytes:
    """Return one complete response. `detail` is a sentence for a person. `retry_after` is in seconds.

    The response to HEAD has no content, only its length (RFC 9110, 9.3.2).
    """
    title = HTTPStatus(status).phrase
    content = json.dumps({"title": title, "status": status, "detail": detail}, ensure_ascii=False).encode() + b"\n"
    fields = [
        f"HTTP/1.1 {status} {title}",
        f"Date: {http_date(int(time()))}",  # RFC 9110, 6.6.1: required of a server with a clock
        "Content-Type: application/problem+json",
        f"Content-Length: {len(content)}",
        f"Proxy-Status: faucet; error={_PROXY_ERRORS.get(status, 'http_request_error')}",
    ]
    if detail in (QUEUE_FULL, OLDER_EPOCH):
        fields[-1] += '; details="not begun"'  # RFC 9209, 2.1.4
    if retry_after is not None:
        fields.append(f"Retry-After: {retry_after}")
    if close:
        fields.append("Connection: close")
    head = "\r\n".join(fields).encode() + b"\r\n\r\n"
    return head if method == b"HEAD" else head + content
