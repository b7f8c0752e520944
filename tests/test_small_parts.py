"""Units, the log's formats, the numbers, the CPUs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.log.handler import JsonFormat, Log, TextFormat
from faucet.log.writer import TOGETHER, FileOutput, Output, Sink
from faucet.net.address import Address
from faucet.net.binding import BACKLOG
from faucet.net.listener import Listener, _waiting
from faucet.proxy.stats import BUCKET_BOUNDS, Histogram, Record, Stats
from faucet.settings import LogSettings
from faucet.units import format_duration, format_size, parse_duration, parse_size
from faucet.workers.advice import NONE, advice
from faucet.workers.cpus import available_cpus
from faucet.workers.instance import exit_text
from faucet.workers.program import Program
from faucet.workers.statuses import slot_details


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("2", 2), ("1.5 s", 1.5), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 2", "١s", "1e3", "inf", "nan"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("64KiB", 65536), ("1MiB", 1 << 20), ("2gib", 2 << 30), ("1.5kB", 1500), ("1B", 1)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 TiB", "1K"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


def test_formats() -> None:
    times = (0, 0.00012, 0.0024, 0.0874, 0.9994, 1.24, 31, 300)
    assert [format_duration(t) for t in times] == ["0ms", "0.1ms", "2.4ms", "87ms", "999ms", "1.24s", "31s", "5m"]
    assert [format_size(s) for s in (0, 312, 1023, 4198, 8 << 20, 3 << 30)] == [
        "0B",
        "312B",
        "1023B",
        "4.1KiB",
        "8MiB",
        "3GiB",
    ]


class Endless:
    """A listening socket at which clients arrive faster than they can be accepted."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, str]:
        ours, theirs = socket.socketpair()
        self.ends.append(theirs)
        assert len(self.ends) < 1000
        return ours, ""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        for end in self.ends:
            end.close()


async def test_a_listener_is_closed_however_many_clients_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faucet.net.listener.BACKLOG", 20)
    listener = Listener(Address("127.0.0.1", 0))
    made: list[object] = []
    await listener.open(lambda: made.append(1) or asyncio.Protocol())
    for sock in listener.sockets:
        sock.close()
    endless = Endless()
    listener.sockets[:] = [endless]  # type: ignore[list-item]
    async with asyncio.timeout(5):
        await listener.close()
    assert len(made) == len(endless.ends) == 20


async def test_what_waits_at_a_listener_that_closes_is_accepted() -> None:
    """Those that the kernel has accepted for us, as many as there are; in the same moment, so that none comes later."""
    listener = Listener(Address("127.0.0.1", 0))
    made: list[object] = []
    await listener.open(lambda: made.append(1) or asyncio.Protocol())
    assert isinstance(listener.address, Address)
    clients = [socket.create_connection(("127.0.0.1", listener.address.port)) for _ in range(30)]
    assert _waiting(listener.sockets[0]) in (30, BACKLOG)
    await listener.close()
    assert len(made) == 30
    for client in clients:
        client.close()


RECORD = Record(1700000000.5, "10.0.0.1", b"GET", b'/a"b', 1, 503, 312, 40, 0.031, 0.0, "", "full")


def test_text_lines() -> None:
    line = TextFormat(colour=False).request(RECORD)
    assert line.endswith('.500 10.0.0.1 "GET /a%22b HTTP/1.1" 503 312B queue=31.0ms service=0.0ms worker=- (full)')
    assert "\x1b" in TextFormat(colour=True).request(RECORD)
    assert (
        TextFormat(colour=False).output(1, "out", "a\x1b[2Jb\x9b\u2028").endswith(r"worker 1 out | a\x1b[2Jb\x9b\u2028")
    )
    assert TextFormat(colour=False).message(logging.WARNING, "x", None).endswith(" warning: x")


def test_json_lines() -> None:
    event = json.loads(JsonFormat().request(RECORD))
    assert (event["event"], event["status"], event["worker"], event["queue_seconds"]) == ("request", 503, None, 0.031)
    assert json.loads(JsonFormat().output(2, "err", "\x1b"))["text"] == "\x1b"
    event = json.loads(JsonFormat().message(logging.ERROR, "x", "3"))
    assert (event["level"], event["worker"]) == ("error", "3")


def test_the_log_goes_to_its_file(tmp_path: Path) -> None:
    log = Log(LogSettings(log_file=tmp_path / "log"))
    log.request(RECORD)
    logging.getLogger("faucet").info("hello %s", "you")
    logging.getLogger("faucet").debug("not this")
    log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line[24:] for line in lines][1:] == ["hello you"]
    quiet = Log(LogSettings(log_level="warning", log_file=tmp_path / "log"))
    quiet.request(RECORD)
    quiet.output(1, "out", "x")
    quiet.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 2


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


def test_numbers_are_counted_together_and_complete_when_asked_for() -> None:
    stats = Stats()
    served = replace(RECORD, worker="1", status=200, service=0.002, waited=0.001)
    for _ in range(10):
        stats.add(served)
        stats.hold(0.003)
    stats.add(RECORD)
    stats.add(replace(RECORD, worker="1", status=799))
    for _ in range(2):  # counted once, however often somebody asks
        stats.settle()
        assert (stats.exchanges, stats.refused, stats.errors, len(stats.recent)) == (12, 1, 1, 12)
        assert stats.by_class == [0, 0, 10, 0, 0, 2]
        assert (stats.waited.total, stats.service.total, stats.held.total) == (12, 11, 10)
        assert stats.held.sum == pytest.approx(0.03)
        assert (stats.workers["1"].requests, stats.workers["1"].errors) == (11, 1)


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


def test_histogram() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) == 0
    histogram.add([milliseconds / 1000 for milliseconds in range(1, 101)])
    for share in (0.01, 0.5, 0.95, 1.0):
        assert share / 10 <= histogram.quantile(share) <= share / 10 * 1.2
    histogram.add([10_000])
    assert histogram.quantile(1) == BUCKET_BOUNDS[-1]
    assert histogram.total == 101


def test_retry_after_is_from_what_was_measured() -> None:
    stats = Stats()
    for _ in range(200):
        stats.add(replace(RECORD, worker="1", service=2.0))
    stats.add(RECORD)
    stats.settle()
    assert stats.expected_wait(waiting=9, workers=4) == pytest.approx(5.0)
    assert stats.by_class[5] == 201
    assert stats.expected_wait(0, 0) == pytest.approx(2.0)


def test_cpus(tmp_path: Path) -> None:
    here = available_cpus(tmp_path)
    assert here >= 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cpus(tmp_path) == here
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("10000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 1


def test_advice() -> None:
    program = Program(("Rscript",), Path(), "plumber.R", "Rscript")
    said = ["Error in library(plumber) : there is no package called ‘plumber’", "Execution halted"]
    assert "apt-get install r-cran-plumber" in advice(said, program).text
    assert 'install.packages("jsonlite2")' in advice(["there is no package called 'jsonlite2'"], program).text
    assert advice(said, program).fact.startswith("plumber is missing")
    assert "TMPDIR" in advice(["Fatal error: creating temporary file for '-e' failed"], program).text
    said = ["localhost is not a valid IPv4 or IPv6 address.", "Error in initialize(...)", "Execution halted"]
    assert 'host = "127.0.0.1" in place of "localhost"' in advice(said, program).text
    assert advice(["segfault"], program) == NONE


def test_exit_texts() -> None:
    ours = {signal.SIGTERM, signal.SIGKILL}
    assert [exit_text(code, ours) for code in (0, 7, -9, -15, -11, -255)] == [
        "exited with code 0", "exited with code 7", "was killed", "stopped", "crashed (SIGSEGV)",
        "was ended by signal 255",
    ]  # fmt: skip
    assert [exit_text(code) for code in (-6, -9, -15)] == [
        "crashed (SIGABRT)", "was killed by SIGKILL, not by Faucet: out of memory? see dmesg",
        "was ended by SIGTERM, not by Faucet",
    ]  # fmt: skip


def test_details_of_a_worker_without_a_process_name_no_port(tmp_path: Path) -> None:
    """Port 0 would be wrong: it has none."""
    slot = SimpleNamespace(
        number=1, instance=None, instances=[], exits=["exited with code 1"], stopping=False, next_try=None, failed=True,
        restarts=5, advice=NONE, last_lines=[],
        context=SimpleNamespace(program=Program(("Rscript", "x.R"), tmp_path, "x")),
    )  # fmt: skip
    details = slot_details(cast("Any", slot)).values
    assert details["environment"]["FAUCET_WORKER_ID"] == "1"
    assert "0" not in details["environment"].values()
