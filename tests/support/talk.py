"""Messages that conversations are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.support.scripted import Peer, Stage

OpenStage = Callable[..., Awaitable[Stage]]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(body: bytes, *fields: bytes, length: int | None = None) -> bytes:
    """A POST request."""
    size = len(body) if length is None else length
    lines = [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: %d" % size, *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def lock_is_given_back(stage: Stage, worker: Peer | None = None) -> None:
    """Whatever happened before: the worker serves the next client."""
    await stage.idle()
    client = await stage.client()
    await client.send(GET)
    if worker is None:
        worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(OK)
    await client.expect(OK)
