"""Runs the framers over bytes, as a connection would, and says in one value what came out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faucet.http1 import FramingError, RequestReader, ResponseReader


def read_requests(pieces: Iterable[bytes], max_body: int | None = None) -> list[Any]:
    """Each request as (bytes forwarded, method, target), then the status of the refusal, if there is one."""
    reader, results = RequestReader(), []
    head = body = None
    forwarded = b""
    try:
        for piece in pieces:
            data = piece
            while data:
                if head is None:
                    parsed = reader.feed(data)
                    if parsed is None:
                        break
                    head, data = parsed
                    body, forwarded = head.body(max_body), head.raw
                if body is not None:
                    end = body.feed(data)
                    forwarded += data[:end]
                    data = data[end:]
                if body is None or body.done:
                    results.append((forwarded, head.method, head.target))
                    head = None
    except FramingError as error:
        results.append(error.status)
    return results


def read_response(pieces: Iterable[bytes], method: bytes = b"GET") -> Any:
    """(status, bytes relayed, bytes behind the message, complete), or the detail of the refusal."""
    reader = ResponseReader()
    head = body = None
    relayed = left = b""
    try:
        for piece in pieces:
            data = piece
            if head is None:
                parsed = reader.feed(data)
                if parsed is None:
                    continue
                head, data = parsed
                body, relayed = head.body(method), head.raw
            assert body is not None
            end = 0 if body.done else body.feed(data)
            relayed += data[:end]
            left += data[end:]
    except FramingError as error:
        return error.status
    if head is None or body is None:
        return None
    return head.status, relayed, left, body.done


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: a") -> bytes:
    lines = [line, *([host] if host is not None else []), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    return get(*fields, line=b"POST / HTTP/1.1") + body


def chunked(body: bytes) -> bytes:
    return post(body, b"Transfer-Encoding: chunked")
