"""The Kubernetes API from within a pod: over HTTPS, with the token of the pod's service account.

Each request opens its own connection, since there is only one request every few minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from faucet import pauses
from faucet.http1 import INTERIM_LIMIT, BadResponse, ResponseContent, ResponseReader
from faucet.net.tls import tls_context
from faucet.pods.discovery.endpoint_slices import WATCH_SECONDS, ApiError, parse_object

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The directory with the pod's token, namespace and CA (Kubernetes: "Accessing the API from a Pod")."""

LOOK_AFTER, LOOK_PATIENCE = 5.0, 3.0
"""Seconds of a silent watch before its objects are listed again, and for the answer to that. The silence may mean that
nothing has changed, or that the API server is gone: without a look, that would be noticed after WATCH_PATIENCE."""

PATIENCE = 5.0
"""Seconds for a connection, and for the head of a response."""

WATCH_PATIENCE = WATCH_SECONDS + 30.0
"""Seconds of silence after which the connection of a watch counts as dead: the server ends a watch earlier. (It sends
no bookmark before that if nothing changes: measured with 1.32.)"""

READ_SIZE = 64 * 1024

SUCCESS = (200, 201)


class Source(Protocol):
    """Answers requests to the Kubernetes API."""

    described: str
    look_after: float
    """Seconds of silence of a watch before its objects are to be listed again."""
    look_patience: float
    """Seconds for the answer to that."""

    async def get(self, path: str) -> bytes:
        """Return the whole response to a GET of `path`. Raises ApiError, OSError or TimeoutError."""
        ...

    def watch(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a line per event until the server ends the watch. Raises as `get` does; OSError if it breaks off."""
        ...


def in_cluster(environment: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> InCluster | None:
    """Return the API of the cluster that this process runs in; None outside a cluster."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not port.isdecimal() or not (account / "token").exists():
        return None
    return InCluster(host, int(port), account)


class InCluster:
    """A Source that uses the pod's service account."""

    described = "the Kubernetes API"
    look_after, look_patience = LOOK_AFTER, LOOK_PATIENCE

    def __init__(self, host: str, port: int, account: Path) -> None:
        self._host = host
        self._port = port
        self._account = account

    @property
    def namespace(self) -> str:
        """The namespace of this pod."""
        with contextlib.suppress(OSError):
            return (self._account / "namespace").read_text().strip()
        return "default"

    async def get(self, path: str) -> bytes:
        """See Source."""
        return await self.send("GET", path)

    async def send(self, method: str, path: str, content: bytes = b"") -> bytes:
        """Return the whole response to a request with JSON as its content. Raises as `get` does."""
        async with pauses.timeout(2 * PATIENCE), self._asked(path, method, content) as answer:
            return b"".join([part async for part in answer])

    async def watch(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Source."""
        async with self._asked(path) as answer:
            rest = b""
            async for part in answer:
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line

    @contextlib.asynccontextmanager
    async def _asked(self, path: str, method: str = "GET", content: bytes = b"") -> AsyncIterator[AsyncIterator[bytes]]:
        async with pauses.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=tls_context(self._account / "ca.crt")
            )
        try:
            writer.write(self._request(path, method, content))
            answer = _Answer(reader)
            async with pauses.timeout(PATIENCE):
                status = await answer.status()
            if status not in SUCCESS:
                async with pauses.timeout(PATIENCE):
                    _raise(status, b"".join([part async for part in answer.content()]))
            yield answer.content()
        finally:
            writer.transport.abort()

    def _request(self, path: str, method: str, content: bytes) -> bytes:
        """Return the bytes of a request. The token is read each time, since it is replaced about once an hour.

        Raises OSError if there is no valid token."""
        token = (self._account / "token").read_bytes().strip()
        if not re.fullmatch(rb"[!-~]+", token):
            raise OSError(f"{self._account / 'token'} holds no token")
        host = f"[{self._host}]" if ":" in self._host else self._host
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{self._port}\r\nAccept: application/json\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return head.encode("ascii") + b"Authorization: Bearer " + token + b"\r\n\r\n" + content


def _raise(status: int, content: bytes) -> None:
    """Raise ApiError, with the server's message if there is one."""
    try:
        parse_object(content)
    except ApiError as error:
        raise ApiError(status, str(error)) from None
    except Exception:
        raise ApiError(status, content[:200].decode("utf-8", "replace").strip()) from None
    raise ApiError(status, f"status {status}")


class _Answer:
    """The server's response, read in parts. All methods raise ConnectionResetError if it is incomplete or malformed."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._rest = b""
        self._content: ResponseContent | None = None

    async def status(self) -> int:
        """Read the head of the final response, and return its status."""
        heads, interim, data = ResponseReader(), 0, b""
        while interim <= INTERIM_LIMIT:
            with _broken_off():
                parsed = heads.feed(data or await self._read())
            data = b""
            if parsed is None:
                continue
            head, data = parsed
            if head.status >= 200:
                self._content, self._rest = ResponseContent(head, b"GET"), data
                return head.status
            interim += 1
        raise ConnectionResetError("the API server's answer is nothing but interim responses")

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content as it arrives. To be called once, after `status`."""
        content, data = self._content, self._rest
        assert content is not None
        while True:
            with _broken_off():
                part = content.feed(data)
            if part:
                yield part
            if content.done:
                return
            data = await self._read(at_eof=content.ends_at_eof())
            if not data:
                return

    async def _read(self, at_eof: bool = False) -> bytes:
        """Return the next bytes; empty at the end of the connection, if the response may end there (`at_eof`).

        A truncated response does no harm: half an object is not JSON, and half a line of a watch is dropped.
        """
        async with pauses.timeout(WATCH_PATIENCE):
            data = await self._reader.read(READ_SIZE)
        if not data and not at_eof:
            raise ConnectionResetError("the API server's answer broke off")
        return data


@contextlib.contextmanager
def _broken_off() -> Iterator[None]:
    """Turn BadResponse into ConnectionResetError: after a malformed response the connection cannot be trusted."""
    try:
        yield
    except BadResponse as error:
        raise ConnectionResetError("the API server's answer is malformed") from error
