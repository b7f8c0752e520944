"""TLS to backends: what the end of a connection means, in every event loop and through every connector."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop

from faucet.net.connect import Connector, connect_tcp
from faucet.net.tls import TlsConnector, ended_by_peer, tls_context
from faucet.ssh.tls import ChannelTls
from tests.support.certificates import Authority, make_ca
from tests.support.running import Faucet
from tests.support.tlsserver import tls_server

UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_ca(tmp_path)


class Recorder(asyncio.Protocol):
    """Asks once, aborts at the end as the proxy does, and keeps what it has seen."""

    def __init__(self) -> None:
        self.seen = b""
        self.end: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is of no such class
        self.transport.write(b"GET / HTTP/1.1\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        self.seen += data

    def eof_received(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end.set_result(exc is None and ended_by_peer(self.transport))


def over_tcp(context: ssl.SSLContext) -> Connector:
    return TlsConnector("127.0.0.1", context)


def as_in_channels(context: ssl.SSLContext) -> Connector:
    return ChannelTls(connect_tcp, "127.0.0.1", context)


async def ask(connector: Connector, port: int) -> tuple[bytes, bool]:
    """What comes, and whether it ends as it should."""
    _, protocol = await connector(Recorder, "127.0.0.1", port, 5.0)
    assert isinstance(protocol, Recorder)
    async with asyncio.timeout(5):
        whole = await protocol.end
    return protocol.seen, whole


def run(loop: str, work: Callable[[], object]) -> object:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(work())  # type: ignore[arg-type]


@pytest.mark.parametrize("connector", [over_tcp, as_in_channels])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("notify", [True, False])
def test_an_end_without_notice_is_told_apart(
    authority: Authority, loop: str, connector: Callable[[ssl.SSLContext], Connector], notify: bool
) -> None:
    context = tls_context(authority.ca_file)
    with tls_server(authority.server_context("127.0.0.1"), UNTIL_CLOSE, notify) as port:
        assert run(loop, lambda: ask(connector(context), port)) == (UNTIL_CLOSE, notify)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_tls_every_end_is_the_peers(loop: str) -> None:
    async def work() -> tuple[bytes, bool]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            return await ask(connect_tcp, server.sockets[0].getsockname()[1])

    assert run(loop, work) == (b"hello", True)


@pytest.mark.parametrize("connector", [over_tcp, as_in_channels])
@pytest.mark.parametrize("loop", LOOPS)
def test_certificates_are_checked(
    authority: Authority, tmp_path: Path, loop: str, connector: Callable[[ssl.SSLContext], Connector]
) -> None:
    other = make_ca(tmp_path / "other")
    with tls_server(authority.server_context("elsewhere.example"), b"", notify=True) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get"):
            run(loop, lambda: ask(connector(tls_context(other.ca_file)), port))
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            run(loop, lambda: ask(connector(tls_context(authority.ca_file)), port))


@pytest.mark.parametrize("connector", [over_tcp, as_in_channels])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_handshake_has_the_time_of_the_connection(
    authority: Authority, loop: str, connector: Callable[[ssl.SSLContext], Connector]
) -> None:
    context = tls_context(authority.ca_file)

    async def work() -> None:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            await connector(context)(Recorder, "127.0.0.1", port, 0.2)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        run(loop, work)


@pytest.mark.parametrize("notify", [True, False])
def test_an_answer_that_only_the_end_delimits(
    authority: Authority, faucet: Callable[..., Faucet], notify: bool
) -> None:
    with tls_server(authority.server_context("127.0.0.1"), UNTIL_CLOSE, notify) as port:
        url = f"https://127.0.0.1:{port}"
        service = faucet("k8s", "--service-url", url, "--ca-file", str(authority.ca_file)).wait_ready()
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            seen, cut = b"", False
            try:
                while some := client.recv(65536):
                    seen += some
            except ConnectionResetError:
                cut = True
        assert (b"hello" in seen or cut, cut) == (True, not notify)
        service.stop()
