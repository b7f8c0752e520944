"""The black box of the real program: what it has recorded is there after SIGKILL, and the next start goes on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from faucet.control.recording import load
from faucet.tui.replay import Player
from tests.support.load import fetch
from tests.support.running import Faucet, python_worker
from tests.support.stranger import until

Start = Callable[..., Faucet]


def requests_in(path: Path) -> list[str]:
    """The targets of all requests in a recording, from its beginning to its end."""
    recording = load(path)
    player = Player(recording)
    player.seek(recording.end, back=recording.end - recording.start)
    return [row.target for row in player.model.requests]


def test_it_survives_a_kill_and_the_next_start_goes_on(faucet: Start, tmp_path: Path) -> None:
    path = tmp_path / "box"
    options = ("--command", python_worker("counting"), "-w", "1", "--black-box", str(path), "--log-redact", "token")
    service = faucet(*options).wait_ready()
    asyncio.run(fetch(service.port, "/one?token=secret"))
    until(lambda: path.exists() and b"/one" in path.read_bytes(), 10, "no record of the request")
    service.signal(signal.SIGKILL)
    service.wait_exit()
    assert path.stat().st_mode & 0o777 == 0o640
    assert b"secret" not in path.read_bytes()
    assert requests_in(path) == ["/one?token=***"]
    again = faucet(*options).wait_ready()
    asyncio.run(fetch(again.port, "/two"))
    assert again.stop() == 0
    assert requests_in(path)[-1] == "/two", "written at the end"


def test_a_file_that_cannot_be_written_is_told(faucet: Start, tmp_path: Path) -> None:
    service = faucet("--command", python_worker("counting"), "-w", "1", "--black-box", str(tmp_path / "none" / "box"))
    assert service.wait_exit() == 1
    assert "cannot write the black box to" in service.output
    assert "--black-box" in service.output
