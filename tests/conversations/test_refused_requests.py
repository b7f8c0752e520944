"""Conversations: requests that are refused before they are exchanges. What the record says of them."""

from __future__ import annotations

import asyncio

import pytest

from faucet.log.formats import JsonFormat, TextFormat
from faucet.proxy.stats import UNKNOWN
from tests.support.talk import OpenStage

REFUSED = [
    (b"POST /up?a=1 HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, "POST /up?a=1 HTTP/1.1"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n", 400, "GET / HTTP/1.1"),
    (b"\r\nGET /x HTTP/1.1\r\n\r\n", 400, "GET /x HTTP/1.1"),
    (b"GET /1 HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "GET /1 HTTP/1.0"),
    (b"PUT /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "PUT /y HTTP/1.1"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400, "GET / HTTP/1.1"),
    (b"GET /\r\nHost: a\r\n\r\n", 400, "-"),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "-"),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "-"),
]


@pytest.mark.parametrize(("data", "status", "line"), REFUSED)
@pytest.mark.parametrize("size", [1, 20, 1000])
async def test_the_request_line_is_logged_if_it_is_known(
    scripted: OpenStage, data: bytes, status: int, line: str, size: int
) -> None:
    stage = await scripted()
    client = await stage.client()
    for start in range(0, len(data), size):
        await client.send(data[start : start + size])
        await asyncio.sleep(0)
    record = await stage.outcome()
    assert record.status == status
    assert f' "{line}" {status} ' in TextFormat(colour=False).request(record)
    protocol = f'"protocol":"{line.rpartition(" ")[2]}"' if line != "-" else '"protocol":null'
    assert protocol in JsonFormat().request(record).replace('": ', '":')
    assert (record.minor == UNKNOWN) == (line == "-")


async def test_a_head_that_is_not_finished_in_time(scripted: OpenStage) -> None:
    stage = await scripted(client_timeout=0.2)
    client = await stage.client()
    await client.send(b"GET /slow HTTP/1.1\r\nHost")
    assert ' "GET /slow HTTP/1.1" 408 ' in TextFormat(colour=False).request(await stage.outcome())
    other = await stage.client()
    await other.send(b"GET /sl")
    assert ' "-" 408 ' in TextFormat(colour=False).request(await stage.outcome(2))
