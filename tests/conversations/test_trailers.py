"""Conversations: trailers, the fields behind a body in chunks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.running import Faucet
from tests.support.talk import CHUNKED, GET, OpenStage, lock_is_given_back

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSES = b"Proxy-Connection: close\r\n\r\n"

NODE = """
require('http').createServer((request, response) => {
  request.resume().on('end', () => response.end('ok'));
}).listen(Number(process.env.FAUCET_PORT), '127.0.0.1');
"""


async def test_large_trailers_pass_both_ways_byte_for_byte(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    trailers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 70) for number in range(90)) + b"\r\n"
    request = POST + b"1\r\na\r\n0\r\n" + trailers
    await client.send(request[:-3000])
    await stage.worker.expect_no_connection()
    await client.send(request[-3000:] + GET)
    worker = await stage.worker.connection()
    await worker.expect(request)
    answer = CHUNKED + b"1\r\nb\r\n0\r\n" + trailers
    await worker.send(answer[:-3000])
    await client.expect(answer[:-3000])
    await worker.expect_quiet()  # the lock goes with the last byte of the trailers
    await worker.send(answer[-3000:])
    await client.expect(answer[-3000:])
    await worker.expect(GET)


async def test_a_forbidden_trailer_reaches_no_worker(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(POST + b"1\r\na\r\n0\r\n" + CLOSES)
    status, answer = await client.read_answer()
    assert status == 400
    assert b"Proxy-Connection is not allowed in a trailer." in answer
    await stage.worker.expect_no_connection()


async def test_a_forbidden_trailer_of_a_streamed_body_costs_the_connection(scripted: OpenStage) -> None:
    """The worker has the rest already. It does not get the trailer, and nobody else gets its connection."""
    stage = await scripted(buffer_request=10)
    client = await stage.client()
    begin = POST + b"14\r\n" + b"x" * 20 + b"\r\n"
    await client.send(begin)
    worker = await stage.worker.connection()
    await worker.expect(begin)
    await client.send(b"0\r\n" + CLOSES)
    assert (await client.read_answer())[0] == 400
    await worker.expect_end()
    worker.close()
    await lock_is_given_back(stage)


async def test_a_forbidden_trailer_of_an_answer_cuts_it(scripted: OpenStage) -> None:
    stage = await scripted()
    client = await stage.client()
    await client.send(GET)
    worker = await stage.worker.connection()
    await worker.expect(GET)
    await worker.send(CHUNKED + b"1\r\nb\r\n")
    await client.expect(CHUNKED + b"1\r\nb\r\n")
    await worker.send(b"0\r\n" + CLOSES)
    await client.expect_reset()
    await worker.expect_end()
    worker.close()
    await lock_is_given_back(stage)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
async def test_a_trailer_does_not_end_the_connection_of_the_next_client_to_node(
    faucet: Callable[..., Faucet], tmp_path: Path
) -> None:
    """Node obeys `Proxy-Connection: close` from a trailer, says nothing of it, and refuses what comes next."""
    (tmp_path / "server.js").write_text(NODE)
    service = faucet("-w", "1", "--command", "node server.js").wait_ready()
    assert await _status(service.port, POST + b"1\r\na\r\n0\r\n" + CLOSES) == 400
    for _ in range(3):
        assert await _status(service.port, GET) == 200


async def _status(port: int, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return int((await asyncio.wait_for(reader.readline(), 10)).split(b" ")[1])
    finally:
        writer.transport.abort()
