"""A control connection that leads to the active: from any of the Faucets, and to the next one when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from faucet.control.client import NoRuntime
from faucet.control.find import find, find_active
from faucet.control.server import UNREAD_LIMIT, ControlServer
from faucet.fleet import Way
from faucet.log.recent import RecentLog
from faucet.service.replicas import introduce
from faucet.status.collect import Runtime
from tests.support.ha_faucets import Faucets, ha_faucets
from tests.support.waiting import when


def control_of(proxy: Any, fleet: Any, title: str) -> ControlServer:
    return ControlServer(Runtime(proxy, fleet, RecentLog(), title, "", "k8s", "", 1, stop=lambda who, now: None))


@asynccontextmanager
async def with_control(tmp_path: Path, names: str) -> AsyncIterator[tuple[Faucets, dict[str, Path]]]:
    """Faucets with a control socket each."""
    async with ha_faucets(tmp_path, names) as faucets:
        controls, paths = [], {}
        for one in faucets.them:
            control = control_of(one.proxy, one.replica, f"the control of {one.name}")
            introduce(one.replica, control)
            paths[one.name] = tmp_path / f"{one.name}.sock"
            await control.open(paths[one.name])
            controls.append(control)
        yield faucets, paths
        for control in controls:
            control.close()
        await when(lambda: not any(control.connections for control in controls))


async def test_any_of_them_leads_to_the_active(tmp_path: Path) -> None:
    async with with_control(tmp_path, "ab") as (_, paths):
        for name in "ab":
            client = await find_active(paths[name])
            assert client.greeting.title == "the control of a"
            assert (await client.ask("status"))["service"]["group"]["role"] == "active"
            snapshots: list[Any] = []
            client.on_message = snapshots.append
            await client.ask("watch", hz=10)
            await when(lambda: any("snapshot" in message for message in snapshots))  # noqa: B023
            await client.close()
        plain = await find(paths["b"])
        assert plain.greeting.title == "the control of b"
        await plain.close()


async def test_who_follows_the_active_is_sent_to_the_next(tmp_path: Path) -> None:
    async with with_control(tmp_path, "ab") as (faucets, paths):
        a, b = faucets.them
        clients = [await find_active(paths[name]) for name in "ab"]
        stays = await find(paths["a"])
        assert await a.replica._hand_over("a test") == "b is the active now"
        async with asyncio.timeout(10):
            await asyncio.wait([client.closed for client in clients], return_when=asyncio.ALL_COMPLETED)
        assert b.replica.role == "active"
        for client in [*clients, stays]:
            assert client.closed.done() == (client is not stays)
            await client.close()
        for name in "ab":
            client = await find_active(paths[name])
            assert client.greeting.title == "the control of b"
            await client.close()


async def test_why_there_is_no_way(tmp_path: Path) -> None:
    control = control_of(None, None, "a test")
    await control.open(tmp_path / "c.sock")
    runtime: Any = control.runtime
    runtime.service = lambda: type("S", (), {"port": 1, "pid": 1, "title": "t", "url": "", "mode": "k8s"})
    with pytest.raises(NoRuntime, match="the only Faucet of the service"):
        await find_active(tmp_path / "c.sock")
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    runtime.way_to_active = lambda: Way("127.0.0.1", port, "token")
    with pytest.raises(NoRuntime, match=rf"the active at 127\.0\.0\.1:{port} cannot be reached from here"):
        await find_active(tmp_path / "c.sock")
    older = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)  # it cuts strangers off
    runtime.way_to_active = lambda: Way("127.0.0.1", older.sockets[0].getsockname()[1], "token")
    with pytest.raises(NoRuntime, match="the active Faucet does not answer"):
        await find_active(tmp_path / "c.sock")
    older.close()
    control.close()


async def test_a_client_that_does_not_read_makes_the_active_wait(tmp_path: Path) -> None:
    """Not this Faucet's memory."""
    sent = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"faucet-control/1 token\n"
        for _ in range(400):
            writer.write(b"x" * 100_000)
            await writer.drain()
        sent.set()
        writer.close()

    active = await asyncio.start_server(flood, "127.0.0.1", 0)
    control = control_of(None, None, "a test")
    runtime: Any = control.runtime
    runtime.service = lambda: type("S", (), {"port": 1, "pid": 1, "title": "t", "url": "", "mode": "k8s"})
    runtime.way_to_active = lambda: Way("127.0.0.1", active.sockets[0].getsockname()[1], "token")
    await control.open(tmp_path / "c.sock")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
    writer.write(b'{"id": 1, "do": "to-active"}\n')
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await when(lambda: any(connection._full for connection in control.connections))
    (connection,) = control.connections
    assert connection._far is not None
    assert not connection._far.transport.is_reading()
    assert connection.transport.get_write_buffer_size() < UNREAD_LIMIT + 512 * 1024
    assert not sent.is_set()
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while not sent.is_set():
            await reader.read(1 << 20)
    writer.close()
    await when(lambda: not control.connections)
    active.close()
    control.close()
