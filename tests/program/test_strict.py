"""The program as a strict pod starts it: one worker, no queue, a fence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faucet.proxy.error_responses import NOT_BEGUN
from tests.support.load import fetch
from tests.support.running import Faucet, python_worker

Start = Callable[..., Faucet]


async def ask(port: int, target: str, epoch: int) -> bytes:
    """All of the answer to a request of the active of that epoch."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {target} HTTP/1.1\r\nHost: a\r\nFaucet-Epoch: {epoch}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_strict_pod_refuses_a_second_request_and_an_earlier_active(faucet: Start) -> None:
    words = ("--command", python_worker("counting"), "--workers", "1", "--queue-limit", "0", "--fencing")
    port = faucet(*words).wait_ready().port
    answers = await asyncio.gather(*[ask(port, "/slow?0.5", epoch) for epoch in (7, 7, 8, 8)])
    served = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200")]
    assert len(served) == 1
    assert all(NOT_BEGUN in answer for answer in answers if answer not in served)
    assert (await ask(port, "/", 8)).startswith(b"HTTP/1.1 200")
    assert NOT_BEGUN in await ask(port, "/", 7)
    assert await fetch(port, "/offences") == (200, b"0")
