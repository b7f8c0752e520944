"""Recordings: from any moment on they lead to the same state, whatever was dropped or cut off."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faucet.control.protocol import decode
from faucet.control.recording import (
    KEYFRAME_SECONDS,
    RecordFile,
    Recording,
    RecordingError,
    State,
    Writer,
    is_whole,
    load,
    time_of,
)

CHANGES = st.lists(
    st.tuples(
        st.sampled_from([0.5, 7.0, KEYFRAME_SECONDS]),
        st.sampled_from([{"totals": [1]}, {"totals": [2]}, {"workers": {"1": [1]}}, {"workers": {"1": None}},
                         {"workers": {"2": [5]}}, {"seconds": [[1]]}, {"seconds": [[2], [3]]}]),
    ), max_size=40,
)  # fmt: skip
FIRST: dict[str, Any] = {"snapshot": {"totals": [0], "workers": {"1": [0]}, "seconds": []}, "now": 1000.0}


def written(changes: list[tuple[float, dict[str, Any]]]) -> tuple[list[bytes], State]:
    writer, state, now = Writer(), State(), 1000.0
    lines = writer.lines(FIRST)
    state.apply(FIRST)
    for pause, change in changes:
        now += pause
        message = {"changes": change, "now": now}
        state.apply(message)
        lines += [*writer.lines(message), *writer.lines({"log": [[now, "out", "1", "x"]], "skipped": 0})]
    return lines, state


def state_of(lines: list[bytes]) -> State:
    state = State()
    for line in lines:
        state.apply(decode(line))
    return state


@given(CHANGES, st.integers(0, 40))
def test_reading_can_begin_at_any_whole_snapshot(changes: list[tuple[float, dict[str, Any]]], skipped: int) -> None:
    lines, state = written(changes)
    whole = [number for number, line in enumerate(lines) if is_whole(line)]
    start = whole[min(skipped, len(whole) - 1)]
    assert state_of(lines[start:]).keyframe(0) == state.keyframe(0)
    times = [time_of(line) for line in lines]
    assert times == sorted(times)
    starts = [times[number] for number in whole]
    assert all(later - earlier <= 2 * KEYFRAME_SECONDS for earlier, later in pairwise(starts))


def test_only_the_latest_is_kept() -> None:
    recording = Recording(seconds=100)
    lines, _ = written([(5.0, {"totals": [n]}) for n in range(100)])
    recording.add(lines)
    assert 100 <= recording.end - recording.start <= 100 + 2 * KEYFRAME_SECONDS
    small = Recording(size=0)
    small.add(lines)
    assert len(small.chunks) == 2


def test_a_file_of_several_parts_whose_end_is_cut_off(tmp_path: Path) -> None:
    lines, _ = written([(5.0, {"totals": [n]}) for n in range(30)])
    (tmp_path / "box.2").write_bytes(b"".join(lines[3:20]))
    (tmp_path / "box.1").write_bytes(b"".join(lines[20:40]))
    (tmp_path / "box").write_bytes(
        b"".join(lines[40:]) + lines[0][:30] + b"\n\nlog: 3 lines were dropped\n{}\n" + lines[-1]
    )
    (tmp_path / "box.old").write_bytes(b"something else")
    recording = load(tmp_path / "box")
    assert recording.end == 1150.0
    first = next(number for number, line in enumerate(lines) if number >= 3 and is_whole(line))
    assert [line for chunk in recording.chunks for line in chunk.lines] == [*lines[first:], lines[-1]]


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"", "no whole snapshot"), (b"hello}\n", "is not a recording"), (b'{"now":1,"faucet":}\n', "is not a recording"),
     (b'{"now":1,"faucet":"9","protocol":99,"snapshot":{}}\n', "Faucet 9 with control protocol 99"),
     (b"hello\n", "no whole snapshot"), (b'{"now":x,"log":[]}\n', "is not a recording")],
)  # fmt: skip
def test_what_is_not_a_recording(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "box").write_bytes(text)
    with pytest.raises(RecordingError, match=why):
        load(tmp_path / "box")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_a_monitor_records_to_a_new_file_that_is_not_for_all(tmp_path: Path) -> None:
    path = tmp_path / "it"
    file = RecordFile(path)
    file.take(FIRST)
    file.take({"changes": {"totals": [7]}, "now": 1001.0})
    file.close()
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    assert load(path).end == 1001.0
    with pytest.raises(FileExistsError):
        RecordFile(path)
