"""What is told of a client: to the worker, by fields at the end of the head, and in the log.

Without options nothing is: the worker gets what the client sent, byte for byte. With them, fields that a worker may
take for ours are left out: `X_Forwarded_For` is X-Forwarded-For to httpuv, and wins. Trailers are left alone: httpuv
(measured), like the servers of Go, Node and Python, does not mix them with the fields of the head.
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
"""One that a client sent is shown if it is short and printable."""


_TRACEPARENT = re.compile(rb"\r\ntraceparent:[ \t]*([0-9a-f-]{55})[ \t]*\r\n", re.IGNORECASE)
"""Version 00 of W3C Trace Context, 3.2."""


class Introduced(NamedTuple):
    """A request after it."""

    raw: bytes
    """The head to send."""
    client: str
    """The address to show."""
    request_id: str
    """Empty: it has none."""
    trace: str = ""
    """Its `traceparent`; empty if it has none, or nobody wants it."""


class ClientIdentity:
    """Made once; called for each request."""

    def __init__(self, settings: ProxySettings) -> None:
        self._forwarded = settings.forwarded
        self._ip_from = settings.ip_from
        self._trust = settings.trust
        self._request_id = settings.request_id
        self._traces = settings.otel_endpoint is not None
        ours = [*FORWARDED] if settings.forwarded else []
        self._lookalikes = lookalikes([*ours, REQUEST_ID] if settings.request_id else ours)

    @property
    def needed(self) -> bool:
        """Whether it does anything."""
        return self._forwarded or self._request_id or self._traces or self._ip_from != "client"

    def __call__(self, head: RequestHead, peer: str) -> Introduced:
        """Introduce the client `peer`, as whose the connection is known."""
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
        fields = forwarded_fields(peer, "http", head.fields.host)
        if peer in self._trust and has_field(head.raw, b"X-Forwarded-Proto"):
            # It is no list: whoever is in front knows better what the client speaks.
            fields = [field for field in fields if field[0] != b"X-Forwarded-Proto"]
        return fields
