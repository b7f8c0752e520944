"""The client of the Kubernetes API, against responses of every form; the fake API server knows one form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from faucet.pods.discovery import in_cluster
from faucet.pods.discovery.endpoint_slices import ApiError
from faucet.pods.discovery.in_cluster import InCluster
from tests.support.certificates import make_ca

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(
    directory: Path, pieces: Sequence[bytes], host: str = "127.0.0.1", stay: bool = False
) -> AsyncIterator[tuple[InCluster, list[bytes]]]:
    """A client, and the heads of its requests; each is answered by these pieces, and then by the connection's end."""
    authority = make_ca(directory)
    (directory / "token").write_text("the-token\n")
    heads: list[bytes] = []
    leaving = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        if stay:
            await leaving.wait()
        writer.close()

    context = authority.server_context("127.0.0.1", "::1")
    server = await asyncio.start_server(serve, host, 0, ssl=context)
    try:
        yield InCluster(host, server.sockets[0].getsockname()[1], directory), heads
    finally:
        leaving.set()
        server.close()
        await server.wait_closed()


async def lines_of(source: InCluster) -> list[bytes]:
    async with aclosing(source.watch("/w")) as lines:
        return [line async for line in lines]


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: 5\r\n\r\nhello"],
        [OK + b"Content-Length: 5\r\n\r\n", b"he", b"llo"],
        [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"],
        [CHUNKED + b"2\r", b"\nhe\r\n3;a=b\r\nl", b"lo\r\n0\r\nX: y\r", b"\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"Content-Length: 5\r\n\r\nhello"],
        [OK[:9], OK[9:] + b"\r\nhello"],
        [b"HTTP/1.0 200 OK\r\n\r\nhello"],
    ],
)
async def test_whole_responses(tmp_path: Path, pieces: list[bytes]) -> None:
    async with answering(tmp_path, pieces) as (source, _):
        assert await source.get("/x") == b"hello"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([], "broke off"),
        ([OK], "broke off"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], "broke off"),
        ([OK + b"Content-Length: 6\r\n\r\nhello"], "broke off"),
        ([CHUNKED + b"5\r\nhello\r\n"], "broke off"),
        ([CHUNKED + b"5\r\nhello\r\n0\r\n"], "broke off"),
        ([CHUNKED + b"five\r\nhello\r\n0\r\n\r\n"], "malformed"),
        ([OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"], "malformed"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n"], "malformed"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20], "nothing but interim responses"),
    ],
)
async def test_responses_that_break_off(tmp_path: Path, pieces: list[bytes], said: str) -> None:
    async with answering(tmp_path, pieces) as (source, _):
        with pytest.raises(ConnectionResetError, match=said):
            await source.get("/x")
        with pytest.raises(ConnectionResetError, match=said):
            await lines_of(source)


async def test_the_request(tmp_path: Path) -> None:
    async with answering(tmp_path, [OK + b"Content-Length: 0\r\n\r\n"], "::1") as (source, heads):
        assert await source.get("/a?b=c") == b""
        (tmp_path / "token").write_text("another")
        await source.get("/")
    port = heads[0].partition(b"[::1]:")[2].partition(b"\r\n")[0]
    assert heads[0] == (
        b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:%b\r\nAccept: application/json\r\n"
        b"Authorization: Bearer the-token\r\n\r\n" % port
    )
    assert b"Bearer another\r\n" in heads[1]


@pytest.mark.parametrize("token", ["", "two words", "a\r\nX-Injected: 1", "caf\u00e9"])
async def test_a_file_without_a_token(tmp_path: Path, token: str) -> None:
    async with answering(tmp_path, [OK + b"Content-Length: 0\r\n\r\n"]) as (source, heads):
        (tmp_path / "token").write_text(token)
        with pytest.raises(OSError, match="holds no token"):
            await source.get("/")
        assert heads == []


async def test_a_watch_yields_lines_however_they_are_cut(tmp_path: Path) -> None:
    pieces = [CHUNKED + b"6\r\none\ntw\r\n", b"2\r\no\n\r\n1\r\n\n\r\n", b"5\r\nthree\r\n", b"1\r\n\n\r\n0\r\n\r\n"]
    async with answering(tmp_path, pieces) as (source, _):
        assert await lines_of(source) == [b"one", b"two", b"three"]


async def test_a_refusal_with_the_servers_words(tmp_path: Path) -> None:
    status = b'{"kind":"Status","code":410,"message":"too old resource version"}'
    gone = b"HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(status), status)
    async with answering(tmp_path, [gone]) as (source, _):
        with pytest.raises(ApiError) as caught:
            await source.get("/x")
        assert (caught.value.status, str(caught.value)) == (410, "too old resource version")
        with pytest.raises(ApiError):
            await lines_of(source)


async def test_silence_ends_a_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_cluster, "WATCH_PATIENCE", 0.2)
    served = answering(tmp_path, [CHUNKED + b"4\r\none\n\r\n"], stay=True)
    async with served as (source, _), aclosing(source.watch("/w")) as lines:
        assert await anext(lines) == b"one"
        with pytest.raises(TimeoutError):
            await anext(lines)
