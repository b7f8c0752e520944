"""WebSockets through the program, spoken by a real implementation on both sides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.load import fetch
from tests.support.running import Faucet, python_worker, wait_gone

Start = Callable[..., Faucet]


def open_socket(service: Faucet) -> connect:
    return connect(f"ws://127.0.0.1:{service.port}/ws", max_size=None, compression=None)


async def test_large_messages_both_ways_while_ordinary_requests_go_on(faucet: Start) -> None:
    service = faucet("--command", python_worker("websocket"), "-w", "2").wait_ready()
    message = os.urandom(1 << 20)

    async def talk() -> None:
        async with open_socket(service) as ws:
            for _ in range(5):
                await ws.send(message)
                assert await ws.recv() == message

    async def ask() -> None:
        for _ in range(50):
            assert (await fetch(service.port, "/"))[0] == 200

    await asyncio.gather(*(talk() for _ in range(6)), *(ask() for _ in range(4)))


@pytest.mark.parametrize("side", ["client", "worker"])
async def test_closing_from_either_side(faucet: Start, side: str) -> None:
    service = faucet("--command", python_worker("websocket"), "-w", "1").wait_ready()
    ws: ClientConnection
    async with open_socket(service) as ws:
        await ws.send("hello")
        assert await ws.recv() == "hello"
        if side == "client":
            await ws.close(4001, "enough")
            assert ws.close_code == 4001
        else:
            await ws.send("close")
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (4000, "as you wish")
    assert (await fetch(service.port, "/"))[0] == 200


async def test_a_worker_that_dies_ends_its_tunnels(faucet: Start) -> None:
    service = faucet("--command", python_worker("websocket"), "-w", "1")
    pids = service.wait_workers(1)
    async with open_socket(service) as ws:
        os.kill(pids[1], 9)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)
    await asyncio.to_thread(wait_gone, pids[1])


async def test_an_open_tunnel_does_not_hold_up_the_end(faucet: Start) -> None:
    service = faucet("--command", python_worker("websocket"), "-w", "1").wait_ready()
    async with open_socket(service) as ws:
        await ws.send("hello")
        await ws.recv()
        assert await asyncio.to_thread(service.stop, 10) == 0
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)
