"""The log's writer: order, rotation, and outputs that are stuck, full or gone."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from pathlib import Path

from faucet.log.writer import TOGETHER, FileOutput, Output, Sink


def test_lines_and_entries_are_written_in_the_order_they_came(tmp_path: Path) -> None:
    sink: Sink[int] = Sink(FileOutput(tmp_path / "log"), lambda number: f"entry {number}")
    expected = []

    async def mix() -> None:
        for number in range(3 * TOGETHER):
            sink.add(number)
            expected.append(f"entry {number}")
            if number % 50 == 7:
                sink.write(f"line {number}")
                expected.append(f"line {number}")

    asyncio.run(mix())
    sink.close()
    assert (tmp_path / "log").read_text().splitlines() == expected


async def test_an_entry_is_written_soon_if_no_other_comes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    sink: Sink[int] = Sink(FileOutput(log))
    sink.add(7)
    async with asyncio.timeout(10):
        while not log.read_text():
            await asyncio.sleep(0.01)
    assert log.read_text() == "7\n"
    sink.close()


def test_a_stuck_pipe_blocks_nobody_and_is_told_what_it_missed() -> None:
    read_end, write_end = os.pipe()
    sink = Sink(Output(write_end))
    line = "x" * 100_000
    for _ in range(300):
        sink.write(line)
    text = b""

    def read() -> None:
        nonlocal text
        while part := os.read(read_end, 1 << 20):
            text += part

    reader = threading.Thread(target=read)
    reader.start()
    while sink.pending:
        threading.Event().wait(0.01)
    sink.write("after")
    sink.close()
    os.close(write_end)
    reader.join()
    os.close(read_end)
    lines = text.decode().splitlines()
    told = [int(match[1]) for text in lines if (match := re.fullmatch(r"log: (\d+) lines were dropped, .*", text))]
    assert sum(told) == 300 - lines.count(line)
    assert "after" in lines[-2:]
    assert 0 < lines.count(line) < 300


class FullDisk(Output):
    """Takes nothing for a while."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.full = True
        self.text = b""

    def write(self, batch: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.text += batch


class Watched(Sink[str]):
    """Remembers which threads have changed which of its numbers: `+=` by two of them loses some."""

    def __setattr__(self, name: str, value: object) -> None:
        changed_by.setdefault(name, set()).add(threading.get_ident())
        super().__setattr__(name, value)


changed_by: dict[str, set[int]] = {}


def test_what_waits_for_the_logs_thread_is_counted_exactly() -> None:
    """No number is changed by the loop and by the thread."""
    disk = FullDisk()
    sink = Watched(disk)
    changed_by.clear()  # the constructor may
    for full in (True, False, True, False):
        disk.full = full
        sink.write("x" * 99)
        sink.flush()
        while sink.pending:
            threading.Event().wait(0.01)
    sink.close()
    assert disk.text.count(b"x") == 198
    assert len(set.union(*changed_by.values())) == 2
    assert {name for name, threads in changed_by.items() if len(threads) > 1} == set()


def test_a_log_file_is_rotated_by_size(tmp_path: Path) -> None:
    sink = Sink(FileOutput(tmp_path / "log", max_size=100, keep=2))
    for number in range(8):
        sink.write(f"line {number} " + "x" * 50)
        sink.flush()
    sink.close()
    found = {path.name: path.read_text().split()[1] for path in tmp_path.iterdir()}
    assert found == {"log": "7", "log.1": "6", "log.2": "5"}
    again = Sink(FileOutput(tmp_path / "log", max_size=100, keep=0))
    again.write("y" * 60)
    again.close()
    assert (tmp_path / "log").read_text() == "y" * 60 + "\n"


def test_a_log_file_is_opened_anew(tmp_path: Path) -> None:
    sink = Sink(FileOutput(tmp_path / "log"))
    sink.write("one")
    sink.flush()
    while not (tmp_path / "log").read_text():
        threading.Event().wait(0.01)
    (tmp_path / "log").rename(tmp_path / "old")
    sink.output.reopen()
    sink.write("two")
    sink.close()
    assert ((tmp_path / "old").read_text(), (tmp_path / "log").read_text()) == ("one\n", "two\n")


def test_rotation_that_fails_loses_nothing(tmp_path: Path) -> None:
    """Somebody has taken the file away; or it cannot be moved, since there is a directory in the way."""
    sink = Sink(FileOutput(tmp_path / "log", max_size=100, keep=2))
    for number in range(6):
        sink.write(f"line {number} " + "x" * 50)
        sink.flush()
        while sink.pending:
            threading.Event().wait(0.001)
        if number == 3:
            threading.Event().wait(0.05)
            (tmp_path / "log").unlink()
    sink.close()
    assert (tmp_path / "log").read_text().startswith("line 5")
    assert (tmp_path / "log.1").read_text().startswith("line ")
    (tmp_path / "log.0").mkdir()
    (tmp_path / "log.0" / "x").touch()
    other = Sink(FileOutput(tmp_path / "log", max_size=100, keep=2))
    other.write("y" * 90)
    other.close()
    assert (tmp_path / "log").read_text().endswith("y" * 90 + "\n")


def test_a_device_is_never_renamed() -> None:
    sink = Sink(FileOutput(Path("/dev/null"), max_size=10, keep=2))
    for _ in range(3):
        sink.write("x" * 100)
        sink.flush()
    sink.close()
    assert Path("/dev/null").is_char_device()


def test_a_file_that_cannot_be_opened_anew_is_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    output = FileOutput(place / "log")
    place.rename(tmp_path / "old")
    output.reopen()
    output.write(b"one\n")
    place.mkdir()
    output.write(b"two\n")
    output.close()
    assert ((tmp_path / "old" / "log").read_text(), (place / "log").read_text()) == ("one\n", "two\n")


def test_a_full_disk_loses_lines_and_says_how_many() -> None:
    disk = FullDisk()
    sink = Sink(disk)
    for number in range(3):
        sink.write(f"lost {number}")
        sink.write(f"lost {number} too")
        sink.flush()
    while sink._failed < 6:
        threading.Event().wait(0.01)
    disk.full = False
    sink.write("after")
    sink.close()
    assert disk.text == b"\nlog: 6 lines were dropped: No space left on device\nafter\n"
