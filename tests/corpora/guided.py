"""A small fuzzer that is guided by coverage and needs nothing but Python.

What reaches a new pair of lines in succession is kept, and changed further. `atheris` does it better and faster, where
it can be installed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

from tests.corpora.targets import TARGETS, WORDS, Target
from tests.support.checkout import ROOT

WATCHED = tuple(str(ROOT / "faucet" / part) for part in ("http1", "control", "net/proxy_header"))

LONGEST = 4096
"""Bytes of an input."""

Pair = tuple[int, int]


class Coverage:
    """The pairs of lines, of what is watched, that ran one after the other."""

    def __init__(self) -> None:
        self.pairs: set[Pair] = set()
        self._last = 0
        self._files: dict[str, int] = {}

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            here = self._files[frame.f_code.co_filename] * 10_000 + frame.f_lineno
            self.pairs.add((self._last, here))
            self._last = here
        return self._line

    def _call(self, frame: FrameType, _event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(WATCHED):
            return None
        self._files.setdefault(name, len(self._files))
        return self._line

    def of(self, reach: Callable[[bytes], object], data: bytes) -> set[Pair]:
        """What `reach` runs through with `data`; whatever it raises is raised."""
        self.pairs, self._last = set(), 0
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            reach(data)
        finally:
            sys.settrace(before)
        return self.pairs


class Finding(AssertionError):
    """An input with which the target has failed."""


class Result(NamedTuple):
    """How far a run has come."""

    tried: int
    kept: int
    pairs: int


def mutate(data: bytes, other: bytes, source: random.Random) -> bytes:
    """Change a few bytes, or join it with the end of another input."""
    for _ in range(source.choice((1, 1, 2, 4))):
        at = source.randrange(len(data) + 1)
        match source.randrange(6):
            case 0:
                data = data[:at] + bytes([source.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + source.choice(WORDS) + data[at:]
            case 2:
                end = at + source.randint(1, 20)
                data = data[:end] + data[at:end] + data[end:]
            case 3:
                data = data[:at] + data[at + source.randint(1, 8) :]
            case 4:
                data = data[:at] + other[source.randrange(len(other) + 1) :]
            case _:
                word = source.choice(WORDS)
                data = data[:at] + word + data[at + len(word) :]
    return data[:LONGEST]


def hunt(name: str, seconds: float, seed: int) -> Result:
    """Try inputs for so long. Raises Finding."""
    target, source, coverage = TARGETS[name], random.Random(seed), Coverage()
    kept, seen, tried = list(target.seeds), set[Pair](), 0
    for data in target.seeds:
        seen |= attempt(coverage, target, data)
    ends = monotonic() + seconds
    while monotonic() < ends:
        tried += 1
        data = mutate(source.choice(kept), source.choice(kept), source)
        reached = attempt(coverage, target, data)
        if reached - seen:
            seen |= reached
            kept.append(data)
    return Result(tried, len(kept), len(seen))


def attempt(coverage: Coverage, target: Target, data: bytes) -> set[Pair]:
    """One input. Raises Finding with it, so that it can be made a test."""
    try:
        target.check(data)
        return coverage.of(target.reach, data)
    except Exception as error:
        raise Finding(f"{target.check.__name__}({data!r}): {type(error).__name__}: {error}") from error
