"""An error that nobody foresaw costs one answer, one second, one connection: never all that follow."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.backoff import Backoff
from faucet.control.protocol import decode, encode
from faucet.control.server import ControlServer
from faucet.ssh import link as link_module
from faucet.ssh.attempt import SshFiles
from faucet.ssh.link import Link, State
from faucet.ssh.login import Login
from faucet.ssh.secrets import Secrets
from faucet.ssh.target import Target


class FlakyRuntime:
    """Fails every other time it is asked for anything."""

    owned = False

    def __init__(self) -> None:
        self.ticks = 0
        self.ticked_again = asyncio.Event()

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 1:
            raise ZeroDivisionError("a bug")
        self.ticked_again.set()

    def service(self) -> Any:
        return SimpleNamespace(port=1, pid=2, title="t", url="u", mode="local")


async def test_a_command_that_fails_is_answered_and_so_are_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ControlServer(cast("Any", FlakyRuntime()))

    def run(message: dict[str, Any]) -> str:
        if message["do"] == "break":
            raise ZeroDivisionError("a bug")
        return "fine"

    server.commands.run = run  # type: ignore[method-assign]
    await server.open(tmp_path / "socket")
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
    writer.write(encode({"id": 1, "do": "break"}) + encode({"id": 2, "do": "work"}))
    lines = [decode((await asyncio.wait_for(reader.readline(), 5)).rstrip(b"\n")) for _ in range(3)]
    assert lines[1:] == [
        {"id": 1, "error": "the command failed; see the service's log"},
        {"id": 2, "ok": "fine"},
    ]
    assert "the command 'break' failed" in caplog.text
    writer.close()
    server.close()


async def test_a_second_that_fails_does_not_end_the_ticks(caplog: pytest.LogCaptureFixture) -> None:
    runtime = FlakyRuntime()
    server = ControlServer(cast("Any", runtime))
    server.start_ticking()
    await asyncio.wait_for(runtime.ticked_again.wait(), 5)
    server.close()
    assert "updating the statistics of the last minute failed" in caplog.text


async def test_the_ssh_link_outlives_a_bug(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(link_module, "BACKOFF", Backoff(0.01, 0.1))
    ended: list[asyncio.Event] = []

    class Connection:
        def __init__(self) -> None:
            self.end = asyncio.Event()
            ended.append(self.end)

        async def wait_closed(self) -> None:
            await self.end.wait()
            if len(ended) == 1:
                raise ZeroDivisionError("a bug")

        async def run(self, *_: Any, **__: Any) -> None:
            pass

        def get_extra_info(self, *_: Any) -> str:
            return ""

    class Attempts(Login):
        async def connect(self, target: Target) -> Any:
            return Connection(), SimpleNamespace(close=lambda _: None)

    link = Link([Target("a")], Attempts(SshFiles(), Secrets()))
    states: list[State] = []
    up_again = asyncio.Event()

    def changed() -> None:
        states.append(link.state)
        if states[-2:] == [State.DOWN, State.UP]:
            up_again.set()

    link.on_change = changed
    await link.open()
    ended[0].set()
    await asyncio.wait_for(up_again.wait(), 5)
    assert len(ended) == 2
    assert "failed unexpectedly" in caplog.text
    await link.close()
