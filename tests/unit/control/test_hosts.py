"""All services of some machines: each with its figures, or with what is in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faucet.control.client import NoRuntime, NotListening
from faucet.control.hosts import Found, Host, look_at
from tests.support.stage_picture import NOW, SERVICE, TOTALS

SUMMARY = {"service": SERVICE._asdict(), "totals": TOTALS._asdict(), "now": NOW}


class Machine:
    """A place with sockets on which something listens, or not."""

    def __init__(self, where: str, *names: str) -> None:
        self.where = where
        self.names = names
        self.down = False
        self.closed = False

    async def known(self) -> list[Path]:
        """See Place."""
        if self.down:
            raise NoRuntime(f"cannot connect to {self.where}: no route\nand more")
        return [Path(f"/run/{name}.sock") for name in self.names]

    async def connect(self, path: Path, named: bool = False) -> Any:
        """See Place: not reached, since the client is a fake, too."""
        raise AssertionError

    async def close(self) -> None:
        """See Place."""
        self.closed = True


class FakeClient:
    """What `Client` is to `Host`."""

    connections: list[str]

    def __init__(self, path: Path) -> None:
        import asyncio

        self.path = path
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, path: Path, connect: Any) -> FakeClient:
        """Come up, by the name of the socket."""
        cls.connections.append(path.stem)
        if path.stem == "stale":
            raise NotListening("no Faucet listens there")
        if path.stem == "old":
            raise NoRuntime("the service (pid 7) is Faucet 0.1 with control protocol 2")
        return cls(path)

    async def ask(self, do: str, patience: float) -> Any:
        """Answer, or not."""
        assert do == "summary"
        if self.path.stem == "hangs":
            raise NoRuntime("Faucet (pid 8) does not answer")
        return {"service": {"title": "x"}} if self.path.stem == "odd" else SUMMARY

    async def close(self) -> None:
        """Hang up."""
        self.closed.cancel()


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    FakeClient.connections = []
    monkeypatch.setattr("faucet.control.hosts.Client", FakeClient)
    return FakeClient.connections


async def test_each_service_is_a_line_and_each_problem_too(clients: list[str]) -> None:
    here, far = Machine("here", "3838", "stale", "old", "hangs", "odd"), Machine("on ops@b", "3838")
    hosts = [Host(here), Host(far)]
    found = await look_at(hosts)
    assert [(each.host, each.path and each.path.stem, each.problem) for each in found] == [
        ("here", "3838", ""),
        ("here", "old", "the service (pid 7) is Faucet 0.1 with control protocol 2"),
        ("here", "hangs", "Faucet (pid 8) does not answer"),
        ("here", "odd", "it is another version of Faucet: use the same one on both sides"),
        ("ops@b", "3838", ""),
    ]
    assert found[0].summary is not None
    assert found[0].summary.totals == TOTALS
    far.down = True
    found = await look_at(hosts)
    assert found[-1] == Found(far, None, None, "cannot connect to on ops@b: no route")
    assert clients.count("3838") == 2, "connections are kept"
    for host in hosts:
        await host.close()
    assert here.closed
    assert far.closed


async def test_a_lost_connection_is_made_again(clients: list[str]) -> None:
    host = Host(Machine("here", "3838"))
    await host.look()
    host._clients[Path("/run/3838.sock")].closed.set_result(None)
    assert [each.problem for each in await host.look()] == [""]
    assert clients == ["3838", "3838"]
    await host.close()
