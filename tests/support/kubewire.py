"""The wire of the fake Kubernetes API server: requests parsed, responses framed, watches kept open.

It knows HTTP and the history of changes; what the answers are is decided in kubeapi.py.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tests.support.kubeobjects import Json

if TYPE_CHECKING:
    from tests.support.kubeapi import KubeApi

CHUNKED_ABOVE = 2048
"""Go's net/http frames what is longer by chunks."""


class Message(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        """As it was presented; empty for none."""
        return self.fields.get("authorization", "").removeprefix("Bearer ")


def _parse(buffer: bytearray) -> tuple[Message, int] | None:
    """The first request in `buffer` and its length, or None while it is incomplete."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    first, *lines = buffer[:head_end].decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = head_end + 4 + int(fields.get("content-length", 0))
    if len(buffer) < length:
        return None
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Message(method, url.path, query, fields, bytes(buffer[head_end + 4 : length])), length


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Selection:
    """What a request is about: some objects of one kind."""

    plural: str
    namespace: str | None
    name: str | None
    labels: str = ""
    fields: str = ""

    def matches(self, thing: Json) -> bool:
        """Whether it is one of them."""
        meta = thing["metadata"]
        named = {f"metadata.{key}": meta[key] for key in ("name", "namespace")}
        return (
            self.namespace in (None, meta["namespace"])
            and self.name in (None, meta["name"])
            and _selected(self.labels, meta["labels"])
            and _selected(self.fields, named)
        )


def _selected(selector: str, values: dict[str, str]) -> bool:
    """Equality-based selectors: `a=b,c==d`."""
    wanted = (term.replace("==", "=").partition("=") for term in selector.split(",") if term)
    return all(values.get(key) == value for key, _, value in wanted)


class Change(NamedTuple):
    """An entry of the history."""

    version: int
    type: str
    plural: str
    thing: Json


@dataclass(eq=False)
class Watch:
    """An answer that goes on: the changes to a selection after a version, one JSON line each."""

    api: KubeApi
    connection: Connection
    selection: Selection
    version: int
    bookmarks: bool
    timer: asyncio.TimerHandle | None = None

    def open(self, seconds: float) -> None:
        """Send the head; the end comes after so many seconds, or (0) when the test says so."""
        self.connection.watch = self
        self.connection.head(200, "Transfer-Encoding: chunked")
        self.api.watches.append(self)
        self.api.wake()
        if seconds:
            self.timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def pump(self) -> None:
        """Send what has happened since the last time."""
        if self.api.silent or self.api.deaf_watches:
            return
        for change in self.api.history:
            if change.version > self.version and self._concerns(change):
                self.send(change.type, change.thing)
        self.version = self.api.version

    def _concerns(self, change: Change) -> bool:
        if change.type == "BOOKMARK":
            return self.bookmarks and change.plural == self.selection.plural
        return change.plural == self.selection.plural and self.selection.matches(change.thing)

    def send(self, kind: str, thing: Json) -> None:
        """One event."""
        line = json.dumps({"type": kind, "object": thing}, separators=(",", ":")).encode() + b"\n"
        size = self.api.chunk_size or len(line)
        for start in range(0, len(line), size):
            self.connection.transport.write(_chunk(line[start : start + size]))

    def end(self) -> None:
        """The last chunk; the connection stays."""
        if not self.api.silent:
            self.connection.transport.write(b"0\r\n\r\n")
            self.closed()
            self.connection.proceed()

    def closed(self) -> None:
        """Forget it."""
        if self.timer is not None:
            self.timer.cancel()
        self.connection.watch = None
        self.api.watches.remove(self)
        self.api.wake()

    def cut(self, reset: bool) -> None:
        """Break the connection off within a chunk; without TLS's own end, as when a machine in between dies."""
        self.connection.transport.write(b'200\r\n{"type":"MODIFIED","obj')
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.closed()
        self.connection.hold()
        self.connection.transport.abort()


class Connection(asyncio.Protocol):
    """One client connection: one request after the other."""

    transport: asyncio.Transport

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._buffer = bytearray()
        self._held = False
        self.watch: Watch | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._api.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.abort()  # Python 3.11's TLS transport warns that it was not closed when the peer did it
        if self.watch is not None:
            self.watch.closed()
        self._api.connections.discard(self)
        self._api.wake()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self.proceed()

    def proceed(self) -> None:
        """Answer what has come, unless an answer is going on."""
        while self.watch is None and not self._held and (found := _parse(self._buffer)):
            message, length = found
            del self._buffer[:length]
            self._api.handle(self, message)

    def hold(self) -> None:
        """Answer nothing any more."""
        self._held = True

    def answer(self, status: int, content: Json, media_type: str = "application/json") -> None:
        """A whole response."""
        body = json.dumps(content).encode() + b"\n"
        if len(body) > CHUNKED_ABOVE:
            self.head(status, "Transfer-Encoding: chunked", media_type)
            for start in range(0, len(body), CHUNKED_ABOVE):
                self.transport.write(_chunk(body[start : start + CHUNKED_ABOVE]))
            self.transport.write(b"0\r\n\r\n")
        else:
            self.head(status, f"Content-Length: {len(body)}", media_type)
            self.transport.write(body)

    def head(self, status: int, framing: str, media_type: str = "application/json") -> None:
        """The head of a response."""
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Audit-Id: 7f0a3f0e-0000-4000-8000-000000000000",
            "Cache-Control: no-cache, private",
            f"Content-Type: {media_type}",
            framing,
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode())
