"""Warm-up: how its requests are written, what a worker is asked, and which answers are good. Without a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faucet.settings import Warmup, parse_warmup
from faucet.workers.warmup import WarmupFailed, missing_files, warm_up

LOG = logging.LoggerAdapter(logging.getLogger("faucet"), {})


@pytest.mark.parametrize(
    ("text", "request_", "shown"),
    [
        ("/health", Warmup("GET", "/health"), "GET /health"),
        ("GET /a?x=1,2", Warmup("GET", "/a?x=1,2"), "GET /a?x=1,2"),
        ("POST /predict @data/body.json", Warmup("POST", "/predict", Path("data/body.json")),
         "POST /predict @data/body.json"),
        ("/predict @a b.csv", Warmup("POST", "/predict", Path("a b.csv")), "POST /predict @a b.csv"),
    ],
)  # fmt: skip
def test_how_it_is_written(text: str, request_: Warmup, shown: str) -> None:
    assert parse_warmup(text) == request_
    assert str(request_) == shown


@pytest.mark.parametrize("text", ["", "health", "get /a", "POST /a body.json", "POST /a b @c d /e\n/f", "/ü", "/a @"])
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(ValueError, match="expected a path"):
        parse_warmup(text)


def test_the_type_of_a_body_is_told_by_its_name() -> None:
    request = Warmup("POST", "/predict", Path("a.json")).request(b"{}")
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in head
    assert b"Content-Length: 2" in head
    assert body == b"{}"
    assert b"octet-stream" in Warmup("POST", "/", Path("a.unknown")).request(b"")
    assert b"Content" not in Warmup("GET", "/").request(b"")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    requests = [parse_warmup(text) for text in ("/x", "/x @a", "/x @b")]
    assert missing_files(requests, tmp_path) == [tmp_path / "b"]


class Worker:
    """Answers each request with the next of `answers`; None: never."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.got: list[bytes] = []
        self.port = 0
        self.conversations: list[asyncio.Future[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations.append(asyncio.ensure_future(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readuntil(b"\r\n\r\n")
        if b"Content-Length: " in data:
            data += await reader.readexactly(int(data.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
        self.got.append(data)
        answer = self.answers.pop(0)
        if answer is None:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        else:
            writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening(*answers: bytes | None) -> AsyncIterator[Worker]:
    worker = Worker(*answers)
    server = await asyncio.start_server(worker.accept, "127.0.0.1", 0)
    worker.port = server.sockets[0].getsockname()[1]
    async with server:
        yield worker
        await asyncio.wait_for(asyncio.gather(*worker.conversations), 5)


async def warm(worker: Worker, directory: Path, *texts: str, seconds: float = 5.0) -> None:
    requests = [parse_warmup(text) for text in texts]
    await warm_up(requests, directory, "127.0.0.1", worker.port, seconds, LOG)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_one_request_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{"x": 1}')
    async with listening(OK, b"HTTP/1.1 302 Found\r\n\r\nby the end of the connection") as worker:
        await warm(worker, tmp_path, "/first", "POST /second @body.json")
    assert [data.partition(b" HTTP")[0] for data in worker.got] == [b"GET /first", b"POST /second"]
    assert worker.got[1].endswith(b'\r\n\r\n{"x": 1}')


async def test_a_bad_answer_is_shown_and_ends_it(tmp_path: Path) -> None:
    bad = b'HTTP/1.1 500 Error\r\nContent-Length: 21\r\n\r\n{"error":\n "no model"}'
    async with listening(bad, OK) as worker:
        with pytest.raises(WarmupFailed, match=r'answered GET /a, its warm-up, with 500: {"error": "no model"}'):
            await warm(worker, tmp_path, "/a", "/b")
    assert len(worker.got) == 1


async def test_no_answer_in_time(tmp_path: Path) -> None:
    async with listening(None) as worker:
        with pytest.raises(
            WarmupFailed, match=r"did not answer GET /a, its warm-up, within 100ms \(--startup-timeout\)"
        ):
            await warm(worker, tmp_path, "/a", seconds=0.1)


async def test_no_http(tmp_path: Path) -> None:
    async with listening(b"") as worker:
        with pytest.raises(WarmupFailed, match="The connection ended without an answer"):
            await warm(worker, tmp_path, "/a")


async def test_a_file_that_is_gone(tmp_path: Path) -> None:
    async with listening(OK) as worker:
        with pytest.raises(
            WarmupFailed, match=r"has no body for POST /a, its warm-up: No such file or directory: gone"
        ):
            await warm(worker, tmp_path, "POST /a @gone")
