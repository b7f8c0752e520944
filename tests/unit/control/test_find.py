"""How a connection to a service fails is explained once, whichever way leads to its socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from faucet.control.client import Client, NoRuntime, NotListening, Streams
from faucet.control.find import find


class Elsewhere:
    """A machine where nothing can be connected to, for this reason."""

    where = "on bastion"

    def __init__(self, error: OSError) -> None:
        self._error = error

    async def known(self) -> list[Path]:
        return [Path("/run/3838.sock")]

    async def connect(self, path: Path, named: bool = False) -> Streams:
        raise self._error

    async def close(self) -> None:
        pass


async def test_nothing_listens_here(tmp_path: Path) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    for path in (stale, tmp_path / "none.sock"):
        for attempt in (Client.connect(path), find(path)):
            with pytest.raises(NotListening, match=f"^no Faucet listens on {path}$"):
                await attempt


async def test_another_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "x.sock"
    for attempt in (Client.connect(path), find(path)):
        with pytest.raises(NoRuntime, match=f"^cannot connect to {path}: Not a directory$"):
            await attempt


async def test_another_machine_says_it_in_its_own_words() -> None:
    place = Elsewhere(ConnectionRefusedError("bastion cannot connect to /run/3838.sock: open failed"))
    with pytest.raises(NotListening, match=r"^bastion cannot connect to /run/3838.sock: open failed$"):
        await find(Path("/run/3838.sock"), place)
    with pytest.raises(NoRuntime, match=r"^no running Faucet found on bastion"):
        await find(None, place)
    with pytest.raises(NoRuntime, match=r"^cannot connect to /run/3838.sock: no answer$"):
        await find(Path("/run/3838.sock"), Elsewhere(OSError("no answer")))
