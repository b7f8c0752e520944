"""The black box: what is in it, what is hidden, and how little it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faucet.control.black_box import KEPT, BlackBox, PartOutput
from faucet.control.recording import load
from faucet.log.redact import redactor


class Subscriber:
    """What a runtime tells: a whole snapshot, then a change a time."""

    def __init__(self, runtime: Any) -> None:
        self.number = 0

    def updates(self) -> list[dict[str, Any]]:
        self.number += 1
        sections = {"totals": [self.number], "workers": {"1": ["GET /x?token=secret&a=1"]}}
        return [{"snapshot" if self.number == 1 else "changes": sections, "now": 1000.0 + self.number}]


@pytest.fixture(autouse=True)
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.control.black_box.Subscriber", Subscriber)


def box(path: Path, size: int = 1 << 20) -> BlackBox:
    return BlackBox(None, path, size, redactor(["token"]))  # type: ignore[arg-type]


async def test_it_can_be_replayed_and_hides_what_the_log_hides(tmp_path: Path) -> None:
    path = tmp_path / "box"
    one = box(path)
    for _ in range(50):
        one._tick()
    one.close()
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    text = path.read_text()
    assert "token=***" in text
    assert "secret" not in text
    recording = load(path)
    assert (recording.start, recording.end) == (1001.0, 1052.0)
    assert len(recording.chunks) == 2


async def test_the_next_process_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "box"
    box(path).close()
    path.write_bytes(path.read_bytes() + b'{"now":1003.0,"changes":{"tot')
    box(path).close()
    assert len(load(path).chunks) == 2


def test_all_parts_together_are_bounded(tmp_path: Path) -> None:
    output = PartOutput(tmp_path / "box", 9000)
    for _ in range(1000):
        output.write(b"x" * 99 + b"\n")
    output.close()
    parts = list(tmp_path.iterdir())
    assert len(parts) == KEPT + 1
    assert sum(part.stat().st_size for part in parts) <= 9000


def test_a_part_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("faucet.control.black_box.monotonic", lambda: now[0])
    output = PartOutput(tmp_path / "box", 1 << 20)
    for _ in range(30):
        now[0] += 150.0
        output.write(b"line\n")
    output.close()
    assert len(list(tmp_path.iterdir())) == KEPT + 1
