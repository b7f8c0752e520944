"""How much a peer has not acknowledged, on real sockets."""

from __future__ import annotations

import asyncio

from faucet.net.undelivered import undelivered
from tests.support.ha_player import when


async def test_what_a_peer_has_not_taken_is_undelivered() -> None:
    peers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: peers.append(writer), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await when(lambda: peers)
    writer.write(b"x" * 1000)
    await when(lambda: undelivered(writer.transport) == 0)
    peers[0].transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"x" * 30_000_000)
    await asyncio.sleep(0)
    left = undelivered(writer.transport)
    assert left > writer.transport.get_write_buffer_size() > 0
    writer.transport.abort()
    await when(lambda: undelivered(writer.transport) == 0)
    server.close()
