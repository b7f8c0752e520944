"""Durations and sizes, as users write them and as they are shown."""

from __future__ import annotations

import pytest

from faucet.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("2", 2), ("1.5 s", 1.5), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 2", "١s", "1e3", "inf", "nan"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("64KiB", 65536), ("1MiB", 1 << 20), ("2gib", 2 << 30), ("1.5kB", 1500), ("1B", 1)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 TiB", "1K"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="invalid size"):
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
