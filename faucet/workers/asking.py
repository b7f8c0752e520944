"""Requests of Faucet itself to a worker, for health checks and warm-up, on a separate connection."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from faucet.http1 import BadResponse, ResponseReader

ANSWER_LIMIT = 1 << 20
"""Longest head of a response, in bytes."""

CONTENT_KEPT = 2000
"""Bytes of a response's content that are kept for the log."""


class Answered(NamedTuple):
    """The response of a worker."""

    status: int
    content: bytes
    """How it begins, without its framing only if it has a length."""

    @property
    def good(self) -> bool:
        """Whether the status is that of a healthy worker: 2xx or 3xx."""
        return 200 <= self.status < 400


async def ask(host: str, port: int, method: str, request: bytes) -> Answered:
    """Send a whole request, and read its answer to its end. Raises OSError or BadResponse."""
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_LIMIT)
    try:
        writer.write(request)
        heads = ResponseReader()
        head, rest = None, b""
        while head is None or head.status < 200:
            data = rest or await reader.read(65536)
            if not data:
                raise BadResponse("The connection ended without an answer.")
            parsed = heads.feed(data)
            head, rest = parsed if parsed is not None else (head, b"")
        body = head.body(method.encode())
        content, data = b"", rest
        while True:
            content += data[: CONTENT_KEPT - len(content)]
            body.feed(data)
            if body.done or not (data := await reader.read(65536)):
                return Answered(head.status, content)
    finally:
        writer.transport.abort()
