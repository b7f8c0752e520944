"""The client's identity as the worker and the log see it: fields appended to the request head, and a log entry.

Without options, the worker gets the head that the client sent, byte for byte. With options, client fields that a worker
may confuse with the fields of Faucet are removed: httpuv takes `X_Forwarded_For` for X-Forwarded-For and prefers it.
Trailers are left alone: httpuv (measured), like the servers of Go, Node and Python, does not merge them into the head.
"""

from __future__ import annotations

import os
import re
from time import time
from typing import NamedTuple

from faucet.http1 import RequestHead
from faucet.http1.forwarded import (
    FORWARDED,
    append_fields,
    client_of,
    forwarded_fields,
    has_field,
    lookalikes,
    uuid7,
    without,
)
from faucet.settings import ProxySettings

REQUEST_ID = b"Faucet-Request-Uuid"

_SENT_ID = re.compile(rb"\r\nfaucet-request-uuid:[ \t]*([!-~]{1,128})[ \t]*\r\n", re.IGNORECASE)
"""A request ID that the client sent. It is used if it is printable and at most 128 characters long."""


_TRACEPARENT = re.compile(rb"\r\ntraceparent:[ \t]*([0-9a-f-]{55})[ \t]*\r\n", re.IGNORECASE)
"""Version 00 of W3C Trace Context, 3.2."""


class Introduced(NamedTuple):
    """A request after ClientIdentity has processed its head."""

    raw: bytes
    """The head to send to the worker."""
    client: str
    """The client address to show in the log."""
    request_id: str
    """The request ID; empty if the request has none."""
    trace: str = ""
    """The `traceparent` of the request; empty if it has none, or traces are not exported."""


class ClientIdentity:
    """Adds the client's identity to request heads. Created once, called for each request."""

    def __init__(self, settings: ProxySettings, scheme: str = "http") -> None:
        """`scheme` is what the clients speak."""
        self._scheme = scheme
        self._forwarded = settings.forwarded
        self._ip_from = settings.ip_from
        self._trust = settings.trust
        self._request_id = settings.request_id
        self._traces = settings.otel_endpoint is not None
        ours = [*FORWARDED] if settings.forwarded else []
        self._lookalikes = lookalikes([*ours, REQUEST_ID] if settings.request_id else ours)

    @property
    def needed(self) -> bool:
        """Whether the settings require any change to a request head, or to the address in the log."""
        return self._forwarded or self._request_id or self._traces or self._ip_from != "client"

    def __call__(self, head: RequestHead, peer: str) -> Introduced:
        """Return the request with the identity of its client. `peer` is the address of the connection."""
        raw, request_id = without(head.raw, self._lookalikes), ""
        fields: list[tuple[bytes, bytes]] = []
        if self._request_id:
            sent = _SENT_ID.search(raw)
            if sent is not None:
                request_id = sent[1].decode("ascii")
            elif not has_field(raw, REQUEST_ID):
                request_id = uuid7(int(time() * 1000), os.urandom)
                fields.append((REQUEST_ID, request_id.encode()))
        if self._forwarded:
            fields += self._forwarded_fields(head, peer)
        if fields:
            raw = append_fields(raw, fields)
        client = client_of(head.raw, self._ip_from, peer, self._trust)
        return Introduced(raw, client, request_id, self._trace_of(raw))

    def _trace_of(self, raw_head: bytes) -> str:
        sent = _TRACEPARENT.search(raw_head) if self._traces else None
        return sent[1].decode("ascii") if sent is not None else ""

    def _forwarded_fields(self, head: RequestHead, peer: str) -> list[tuple[bytes, bytes]]:
        fields = forwarded_fields(peer, self._scheme, head.fields.host)
        if peer in self._trust and has_field(head.raw, b"X-Forwarded-Proto"):
            # X-Forwarded-Proto is not a list: the trusted proxy in front knows the client's protocol better.
            fields = [field for field in fields if field[0] != b"X-Forwarded-Proto"]
        return fields
