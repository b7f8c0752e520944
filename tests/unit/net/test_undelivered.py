"""How much a peer has not acknowledged, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib

from faucet.net.undelivered import discard_on_close, undelivered
from tests.support.waiting import when


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
    peers[0].transport.abort()
    server.close()
    await asyncio.sleep(0)  # the transports close their sockets then


async def test_what_is_undelivered_can_be_taken_back() -> None:
    """The peer gets only what it had got before, and a reset; else the kernel would send the rest after the close."""
    got = {discard: await _got_after_abort(discard) for discard in (False, True)}
    assert got[True] < got[False]


async def _got_after_abort(discard: bool) -> int:
    peers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    server = await asyncio.start_server(lambda *peer: peers.append(peer), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await when(lambda: peers)
    (reader, peer), got = peers[0], 0
    peer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"x" * 30_000_000)
    await when(lambda: writer.transport.get_write_buffer_size() < 30_000_000)
    if discard:
        discard_on_close(writer.transport)
    writer.transport.abort()
    await asyncio.sleep(0)
    peer.transport.resume_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(ConnectionResetError):
        while part := await reader.read(1_000_000):
            got += len(part)
    peer.transport.abort()
    server.close()
    await asyncio.sleep(0)
    return got
