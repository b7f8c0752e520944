"""The admin listener: four pages, GET and HEAD only, one request per connection. It answers while workers are busy.

The main listener belongs to the API alone: Faucet reserves no path there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import time
from typing import NamedTuple, cast

from faucet.admin.names import OwnNames
from faucet.control.commands import Commands
from faucet.http1 import FramingError, RequestHead, RequestReader
from faucet.http1.dates import http_date
from faucet.status.collect import Runtime
from faucet.text import to_json

PATIENCE = 10.0
"""Seconds for one connection, from its start to the end of the response."""

MOST_CONNECTIONS = 32
"""Most simultaneous connections. Requests are answered immediately; idle clients must not use up the file descriptors
that clients of the API need."""

PAGES = "/livez /readyz /metrics /status"

MISDIRECTED = """\
These pages are not served as {0}: a web page could read them under a name of its own (DNS rebinding).
If the name is yours, allow it: --admin-names {0}
"""


class Page(NamedTuple):
    """A response."""

    status: int
    content: bytes
    kind: str = "text/plain; charset=utf-8"
    allow: str = ""
    """The allowed methods, for a 405 response."""


class Admin:
    """Builds the pages of one runtime."""

    def __init__(self, runtime: Runtime, names: Iterable[str] = (), by_endpoint: bool = True) -> None:
        """`names`: further accepted host names (see OwnNames). `by_endpoint`: whether to export metrics by endpoint."""
        from faucet.admin.metrics import Metrics

        self._runtime = runtime
        self._names = OwnNames(names)
        self._commands = Commands(runtime)
        self._metrics = Metrics(runtime, by_endpoint)
        self.connections: dict[AdminConnection, None] = {}
        """The open connections, oldest first."""
        self._pages: dict[bytes, Callable[[], Page]] = {
            b"/livez": lambda: Page(200, b"ok\n"),
            b"/readyz": self._ready,
            b"/metrics": lambda: Page(200, self._metrics.text(), self._metrics.kind),
            b"/status": self._status,
        }

    def came(self, connection: AdminConnection) -> None:
        """Add a new connection. If there are too many, cut the oldest."""
        self.connections[connection] = None
        if len(self.connections) > MOST_CONNECTIONS:
            next(iter(self.connections)).cut()

    def answer(self, head: RequestHead) -> Page:
        """Return the page for a request."""
        host = head.fields.host
        if not self._names.include(host):
            return Page(421, MISDIRECTED.format(host.decode("latin-1") if host else "").encode())
        page = self._pages.get(head.target.partition(b"?")[0])
        if page is None:
            return Page(404, f"Not found. Pages: {PAGES}\n".encode())
        if head.method not in (b"GET", b"HEAD"):
            return Page(405, b"Method not allowed. Use GET or HEAD.\n", allow="GET, HEAD")
        return page()

    def _ready(self) -> Page:
        """Return 200 if this Faucet should get requests, otherwise 503."""
        good, words = self._runtime.readiness()
        return Page(200 if good else 503, f"{words}\n".encode())

    def _status(self) -> Page:
        status = self._commands.run({"do": "status"})
        return Page(200, to_json(status).encode() + b"\n", "application/json")


class AdminConnection(asyncio.Protocol):
    """One connection: a request and its response."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._reader = RequestReader()
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = asyncio.get_running_loop().call_later(PATIENCE, self.cut)
        self._admin.came(self)

    def cut(self) -> None:
        """Close the connection immediately, and remove it from the open connections."""
        self._admin.connections.pop(self, None)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._answered:
            return
        try:
            parsed = self._reader.feed(data)
        except FramingError as error:
            self._send(Page(error.status, f"{error.detail}\n".encode()))
            return
        if parsed is not None:
            self._send(self._admin.answer(parsed[0]), parsed[0].method == b"HEAD")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._deadline.cancel()
        self._admin.connections.pop(self, None)

    def _send(self, page: Page, head_only: bool = False) -> None:
        self._answered = True
        fields = [
            f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
            f"Date: {http_date(int(time()))}",
            f"Content-Type: {page.kind}",
            f"Content-Length: {len(page.content)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if page.allow:
            fields.append(f"Allow: {page.allow}")  # RFC 9110, 15.5.6
        head = "\r\n".join(fields).encode() + b"\r\n\r\n"
        self._transport.write(head if head_only else head + page.content)
        self._transport.close()
