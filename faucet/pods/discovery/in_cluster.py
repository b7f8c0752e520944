"""The Kubernetes API from within a pod: over HTTPS, with the token of its service account.

h11 frames the messages. Each request has a connection of its own: there is one every few minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from faucet.pods.discovery.endpoint_slices import WATCH_SECONDS, ApiError, parse_object

if TYPE_CHECKING:
    import h11

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where every pod finds its token, its namespace and the CA (Kubernetes: "Accessing the API from a Pod")."""

PATIENCE = 5.0
"""Seconds for a connection, and for the head of an answer."""

WATCH_PATIENCE = WATCH_SECONDS + 30.0
"""Seconds of silence after which a watch has died unseen: the server ends it earlier."""


class Source(Protocol):
    """Answers requests to the Kubernetes API."""

    described: str

    async def get(self, path: str) -> bytes:
        """Return the whole response to a GET of `path`. Raises ApiError, OSError or TimeoutError."""
        ...

    def watch(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a line per event until the server ends the watch. Raises as `get` does, OSError if it is cut."""
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
        async with asyncio.timeout(2 * PATIENCE), self._asked(path) as answer:
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
    async def _asked(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        import h11

        connection = h11.Connection(h11.CLIENT)
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._context())
        try:
            # The token is read each time: it is replaced every hour or so.
            token = (self._account / "token").read_text().strip()
            request = h11.Request(
                method="GET", target=path,
                headers=[("Host", self._host), ("Authorization", f"Bearer {token}"), ("Accept", "application/json")],
            )  # fmt: skip
            writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            answer = _Answer(connection, reader)
            async with asyncio.timeout(PATIENCE):
                status = await answer.status()
            if status != 200:
                async with asyncio.timeout(PATIENCE):
                    _raise(status, b"".join([part async for part in answer.content()]))
            yield answer.content()
        except h11.RemoteProtocolError as error:
            raise ConnectionResetError(f"the API server's answer broke off: {error}") from error
        finally:
            writer.transport.abort()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._account / "ca.crt")
        # Python 3.13 is stricter by default than the CAs of some clusters are (no Authority Key Identifier).
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


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
    """The server's response, read in parts."""

    def __init__(self, connection: h11.Connection, reader: asyncio.StreamReader) -> None:
        self._connection = connection
        self._reader = reader

    async def _next(self) -> object:
        import h11

        while (event := self._connection.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(WATCH_PATIENCE):
                self._connection.receive_data(await self._reader.read(65536))
        return event

    async def status(self) -> int:
        """Return the status of the final response."""
        import h11

        while not isinstance(event := await self._next(), h11.Response):
            pass
        return event.status_code

    async def content(self) -> AsyncGenerator[bytes, None]:
        """Yield the content as it arrives."""
        import h11

        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)
