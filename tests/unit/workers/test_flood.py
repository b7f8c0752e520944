"""A worker that writes more than can be logged: it delays nobody, and what is left out is counted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.workers.flood import REPORT_EVERY, WINDOW, Flood
from faucet.workers.output import LAST_LINES, LINE_LIMIT, TURN_LINES, Output


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 2)), max_size=40), st.integers(1, 100))
def test_never_more_than_the_rate_and_every_line_is_kept_or_counted(
    batches: list[tuple[int, float]], rate: int
) -> None:
    reports: list[str] = []
    flood = Flood(rate, reports.append)
    now, window, in_window, written, kept = 0.0, float("-inf"), 0, 0, 0
    for count, pause in batches:
        now += pause
        if now - window >= WINDOW:
            window, in_window = now, 0
        lines = numbered(count, written)
        some = flood.keep(lines, now)
        assert [line for line in lines if line in set(some)] == some, "in order, and none twice"
        in_window += len(some)
        assert in_window <= rate
        written += count
        kept += len(some)
    flood.tell(now)
    left_out = sum(int(re.search(r"([\d,]+) are", text)[1].replace(",", "")) for text in reports)  # type: ignore[index]
    assert kept + left_out == written


def test_ordinary_output_is_kept_whole() -> None:
    reports: list[str] = []
    flood = Flood(100, reports.append)
    for second in range(50):
        assert len(flood.keep(numbered(100), float(second))) == 100
        assert not flood.on
    assert reports == []


def test_a_steady_flood_is_sampled_over_the_whole_second_and_reported_now_and_then() -> None:
    reports: list[str] = []
    flood = Flood(100, reports.append)
    kept: list[bytes] = []
    for tenth in range(300):
        some = flood.keep(numbered(500, tenth * 500), tenth / 10)
        if tenth >= 20:
            kept += some
            assert 9 <= len(some) <= 11, "one of fifty, also late in the second"
    assert flood.on
    assert len(kept) == pytest.approx(2800, rel=0.02)
    assert 2 <= len(reports) <= 30 / REPORT_EVERY + 1
    assert "up to 5,000 lines a second" in reports[0]
    assert "--log-worker-rate 100" in reports[0]


def test_without_a_rate_all_are_kept() -> None:
    assert len(Flood(0, pytest.fail).keep(numbered(100_000), 0.0)) == 100_000


async def read_all(flood: Flood | None, octets: bytes) -> list[str]:
    """What is logged of `octets` that were in a pipe whose other end was closed."""
    lines: list[str] = []
    output = Output(lines.append, flood)
    reading, writing = os.pipe()
    await asyncio.get_running_loop().connect_read_pipe(lambda: output, os.fdopen(reading, "rb"))

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(octets)

    await asyncio.to_thread(write)
    await asyncio.wait_for(output.ended, 30)
    return lines


async def test_lines_of_many_turns_come_in_order_and_complete() -> None:
    expected = [f"line {number}" for number in range(TURN_LINES * 5)]
    assert await read_all(None, "\n".join(expected).encode()) == expected


async def test_long_lines_are_cut() -> None:
    text = "x" * (LINE_LIMIT * 3 + 5)
    for end in ("", "\n"):
        lines = await read_all(None, (text + end).encode())
        assert "".join(lines) == text
        assert max(map(len, lines)) == LINE_LIMIT


async def test_the_last_words_of_a_flood_are_logged() -> None:
    reports: list[str] = []
    octets = b"".join(b"noise %d\n" % number for number in range(20_000)) + b"Error in model: out of memory\n"
    lines = await read_all(Flood(50, reports.append), octets)
    assert lines[-1] == "Error in model: out of memory"
    assert lines[0] == "noise 0"
    assert len(lines) <= 50 * 4 + 2 * LAST_LINES
    assert reports


async def test_a_flood_does_not_delay_others() -> None:
    """The loop turns while a program prints short lines as fast as it can: half of its pauses stay below 20 ms."""
    code = "import sys\nwhile True: sys.stdout.write('a\\n' * 1000)"
    seen: list[str] = []
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=writing)
    os.close(writing)
    output = Output(seen.append, Flood(1000, lambda _: None))
    await asyncio.get_running_loop().connect_read_pipe(lambda: output, os.fdopen(reading, "rb"))
    pauses, before = [], monotonic()
    deadline = before + 1.5
    while before < deadline:
        await asyncio.sleep(0.001)
        now = monotonic()
        pauses.append(now - before)
        before = now
    process.kill()
    await process.wait()
    await asyncio.wait_for(output.ended, 10)
    assert seen
    assert sorted(pauses)[len(pauses) // 2] < 0.02


async def test_a_beginning_of_a_line_comes_behind_the_lines_before_it() -> None:
    """Also if those still wait for their turn when the beginning has waited long enough; and the last words count."""
    lines: list[str] = []
    output = Output(lines.append, Flood(0, pytest.fail))
    reading, writing = os.pipe()
    await asyncio.get_running_loop().connect_read_pipe(lambda: output, os.fdopen(reading, "rb"))
    expected = [f"line {number}" for number in range(TURN_LINES * 60)]  # for longer than a second
    with os.fdopen(writing, "wb") as pipe:
        await asyncio.to_thread(pipe.write, "\n".join([*expected, "the beginning"]).encode())
        pipe.flush()
        async with asyncio.timeout(30):
            while len(lines) <= len(expected):
                await asyncio.sleep(0.05)
    await asyncio.wait_for(output.ended, 10)
    assert lines == [*expected, "the beginning"]


async def test_last_words_count_although_a_beginning_of_a_line_follows_them() -> None:
    lines: list[str] = []
    output = Output(lines.append, Flood(1, lambda _: None))
    reading, writing = os.pipe()
    await asyncio.get_running_loop().connect_read_pipe(lambda: output, os.fdopen(reading, "rb"))
    output.data_received(b"noise\n" * 50 + b"Error: no memory\n")
    output.data_received(b"Executi")
    os.close(writing)
    await asyncio.wait_for(output.ended, 10)
    assert lines[-2:] == ["Error: no memory", "Executi"]
