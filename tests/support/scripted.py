"""A Proxy in this process between a raw client and workers whose every byte the test decides.

A worker here is a listening socket. Each connection that Faucet opens to it is handed to the test as a `Peer`, with
which it reads what Faucet sent and writes what it likes. A client is a `Peer` too. Every wait is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from faucet.net.connect import connect_tcp
from faucet.net.server_certificate import Files, Pair, load
from faucet.proxy.downstream import ClientConnection
from faucet.proxy.proxy_protocol import ProxiedClientConnection
from faucet.proxy.server import Proxy
from faucet.proxy.stats import Record
from faucet.proxy.tls_clients import HANDSHAKE_SECONDS, TlsClientConnection
from faucet.proxy.upstream import Backend
from faucet.settings import ServeSettings
from tests.support.certificates import make_ca
from tests.support.deadlines import Watch
from tests.support.tls_peer import TlsReader, TlsWriter, connect_tls

PATIENCE = 5.0
"""Seconds after which a test has waited in vain."""

QUIET = 0.05
"""Seconds in which nothing came, where nothing should."""


class Tls(NamedTuple):
    """What both sides of TLS need."""

    server: Pair
    client: ssl.SSLContext


@cache
def tls_of_localhost() -> Tls:
    """A certificate for localhost, and a client that trusts it."""
    with tempfile.TemporaryDirectory(prefix="faucet-tls-") as directory:
        authority = make_ca(Path(directory))
        return Tls(load(Files(*authority.issue("localhost")), "1.2"), authority.client_context())


class Peer:
    """One end of a connection, in the test's hands."""

    def __init__(self, reader: asyncio.StreamReader | TlsReader, writer: asyncio.StreamWriter | TlsWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def expect(self, data: bytes) -> None:
        """Read exactly these bytes."""
        try:
            got = await asyncio.wait_for(self.reader.readexactly(len(data)), PATIENCE)
        except asyncio.IncompleteReadError as error:
            raise AssertionError(f"connection ended after {error.partial!r}, expected {data!r}") from error
        assert got == data

    async def read_head(self) -> bytes:
        """Read up to the end of a head."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def read_answer(self) -> tuple[int, bytes]:
        """Read a response with a Content-Length: its status, and all of it."""
        head = await self.read_head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        return int(head.split(b" ")[1]), head + await asyncio.wait_for(self.reader.readexactly(length), PATIENCE)

    async def expect_quiet(self) -> None:
        """Nothing comes, and the connection stays."""
        with contextlib.suppress(TimeoutError):
            data = await asyncio.wait_for(self.reader.read(1000), QUIET)
            raise AssertionError(f"unexpected: {data!r}")

    async def expect_end(self) -> None:
        """The other side ends, cleanly, without another byte."""
        assert await asyncio.wait_for(self.reader.read(1000), PATIENCE) == b""

    async def expect_reset(self) -> None:
        """The other side cuts the connection; what came before does not look complete."""
        with contextlib.suppress(ConnectionResetError):
            rest = await asyncio.wait_for(self.reader.read(), PATIENCE)
            raise AssertionError(f"ended cleanly after {rest!r}")

    async def expect_gone(self) -> None:
        """The other side is gone, cleanly or not, without another byte."""
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(self.reader.read(), PATIENCE) == b""

    async def expect_gone_at_last(self) -> None:
        """The other side is gone, whatever it sent before."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), PATIENCE):
                pass

    def end_sending(self) -> None:
        """Half-close."""
        self.writer.write_eof()

    def close(self) -> None:
        """Close."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class ScriptedWorker:
    """A worker: a backend of the proxy, and the connections it got."""

    def __init__(self, name: str, supervised: bool) -> None:
        self.name = name
        self._supervised = supervised
        self._connections: asyncio.Queue[Peer] = asyncio.Queue()
        self.peers: list[Peer] = []
        self.hung = False
        self.unreachable: list[Exception] = []
        self.backend: Backend
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.backend = Backend(self.name, "127.0.0.1", port, connect_tcp, supervised=self._supervised)
        self.backend.on_hung = self._on_hung
        self.backend.on_unreachable = self.unreachable.append

    def _on_hung(self, record: Record) -> None:
        self.hung = True

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._connections.put_nowait(peer)

    async def connection(self) -> Peer:
        """The next connection that Faucet opens."""
        return await asyncio.wait_for(self._connections.get(), PATIENCE)

    async def connection_whenever(self) -> Peer:
        """The next connection that Faucet opens, however long that takes."""
        return await self._connections.get()

    async def expect_no_connection(self) -> None:
        """Faucet opens none."""
        await asyncio.sleep(QUIET)
        assert self._connections.empty()

    def stop_listening(self) -> None:
        """Refuse new connections."""
        self._server.close()

    async def close(self) -> None:
        """End everything."""
        self._server.close()
        for peer in self.peers:
            with contextlib.suppress(Exception):
                peer.writer.transport.abort()
                await peer.writer.wait_closed()


class Stage:
    """The proxy, its workers and its clients."""

    def __init__(self, supervised: bool = False, **settings: Any) -> None:
        settings.setdefault("spool_limit", 0)  # what is too long is streamed, unless a test asks for files
        self._supervised = supervised  # the workers: somebody removes one whose process exits
        self.records: list[Record] = []
        self._news = asyncio.Event()
        self._watch = Watch()
        self.proxy = Proxy(ServeSettings(**settings), self._record)
        self.workers: list[ScriptedWorker] = []
        self.tls: Tls | None = None
        """Set it before `open`: clients speak TLS then."""
        self.handshake_seconds = HANDSHAKE_SECONDS
        self._clients: list[Peer] = []
        self._server: asyncio.Server

    def _record(self, record: Record) -> None:
        self.records.append(record)
        self._news.set()

    async def open(self, workers: int) -> None:
        """Start to serve with so many workers."""
        loop = asyncio.get_running_loop()
        proxied = self.proxy.settings.proxy_protocol
        connection: type[ClientConnection] = ProxiedClientConnection if proxied else ClientConnection
        connection = self._watch.watched(TlsClientConnection if self.tls is not None else connection)
        if self.tls is not None:
            context = self.tls.server.context
            tls = self.proxy.serve_tls(lambda: context, self.handshake_seconds)
            tls.connection = connection
            self._server = await loop.create_server(tls.accept, "127.0.0.1", 0)
        else:
            self._server = await loop.create_server(
                lambda: connection(self.proxy.pool, self.proxy.clients), "127.0.0.1", 0
            )
        for number in range(1, workers + 1):
            worker = ScriptedWorker(str(number), self._supervised)
            await worker.open()
            self.workers.append(worker)
            self.proxy.pool.add(worker.backend)

    @property
    def scheme(self) -> bytes:
        """What the clients speak."""
        return b"http" if self.tls is None else b"https"

    @property
    def worker(self) -> ScriptedWorker:
        """The first worker."""
        return self.workers[0]

    async def client(self, receive_buffer: int | None = None) -> Peer:
        """A new client connection."""
        streams = await self.raw_client(receive_buffer)
        peer = Peer(*streams if self.tls is None else await connect_tls(*streams, self.tls.client))
        self._clients.append(peer)
        return peer

    async def plain_client(self) -> Peer:
        """A new TCP connection, before a handshake."""
        peer = Peer(*await self.raw_client())
        self._clients.append(peer)
        return peer

    async def raw_client(self, receive_buffer: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The streams of a new TCP connection, which the caller closes."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self._server.sockets[0].getsockname())
        return await asyncio.open_connection(sock=sock, limit=receive_buffer or 2**16)

    async def outcome(self, count: int = 1) -> Record:
        """Wait until `count` exchanges in all have ended; the last one."""
        async with asyncio.timeout(PATIENCE):
            while len(self.records) < count:
                self._news.clear()
                await self._news.wait()
        return self.records[count - 1]

    async def idle(self) -> None:
        """Wait until no lock is held and nobody waits."""
        async with asyncio.timeout(PATIENCE):
            while self.proxy.pool.dispatcher.locked or self.proxy.pool.dispatcher.waiting:
                await asyncio.sleep(0.005)

    async def queued(self, count: int) -> None:
        """Wait until `count` requests are in the queue."""
        async with asyncio.timeout(PATIENCE):
            while self.proxy.pool.dispatcher.waiting != count:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        """End everything; nothing may be left."""
        self._server.close()
        for client in self._clients:
            client.writer.transport.abort()
            with contextlib.suppress(Exception):
                await client.writer.wait_closed()
        for worker in self.workers:
            self.proxy.pool.remove(worker.backend)
            worker.backend.close()
            await worker.close()
        async with asyncio.timeout(PATIENCE):
            while self.proxy.clients or self.proxy.clients.tunnels:
                await asyncio.sleep(0.005)
        self.proxy.close()
        for worker in self.workers:
            worker.backend.close(whatever=True)  # one that is still being heard out
        assert self._watch.unwatched == []
        budget = self.proxy.clients.budget
        assert (budget.used, len(budget.bodies), len(budget.slowed), self.proxy.clients.turned_away) == (0, 0, 0, 0)
        await asyncio.sleep(0.01)  # transports that were aborted tell so in the next turn of the loop
        assert self.proxy.pool.dispatcher.locked == 0


@contextlib.asynccontextmanager
async def stages(tls: bool = False) -> AsyncIterator[Callable[..., object]]:
    """Yield `open_stage(workers, **settings)`, for clients of plain HTTP or of TLS; close what it has opened."""
    opened: list[Stage] = []

    async def open_stage(workers: int = 1, **settings: object) -> Stage:
        stage = Stage(**settings)
        if tls:
            stage.tls = tls_of_localhost()
        opened.append(stage)
        await stage.open(workers)
        return stage

    yield open_stage
    for stage in opened:
        await stage.close()
