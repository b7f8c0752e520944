"""A recording of what a service told a subscriber: JSON lines, from which its state at any moment can be made again.

Each line is a message of the control protocol with the time that it is of, `now`, as its first field. A whole snapshot
comes every KEYFRAME_SECONDS, with the version of the protocol: reading can begin at any of them, so the oldest part of
a recording can be dropped, and one whose end was cut off can be read. In memory, and when a file is loaded, the lines
between two of them are compressed: a tenth of their size.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

from faucet import __version__
from faucet.control.protocol import PROTOCOL, Message, ProtocolError, decode, encode
from faucet.status.history import SECONDS

KEYFRAME_SECONDS = 30.0
"""Seconds between two whole snapshots."""

KEPT_SECONDS = 900.0
"""Seconds that a monitor keeps."""

KEPT_BYTES = 32 << 20
"""Bytes that a monitor keeps, compressed."""

NOW = b'{"now":'


class RecordingError(Exception):
    """A file is not a recording, or of another version. The message is shown to the user."""


class State:
    """What a subscriber knows: the sections of a snapshot, brought up to date by changes."""

    def __init__(self) -> None:
        self._sections: dict[str, Any] = {}

    def apply(self, message: Message) -> None:
        """Take in one message."""
        if "snapshot" in message:
            self._sections = dict(message["snapshot"])
        for name, section in message.get("changes", {}).items():
            before = self._sections.get(name)
            if name == "workers" and isinstance(before, dict):
                rows = before | section
                self._sections[name] = {key: row for key, row in rows.items() if row is not None}
            elif name == "seconds" and before is not None:
                self._sections[name] = [*before, *section][-SECONDS:]
            else:
                self._sections[name] = section

    def keyframe(self, now: float) -> bytes:
        """Return a line with the whole state."""
        return encode({"now": now, "faucet": __version__, "protocol": PROTOCOL, "keyframe": True,
                       "snapshot": self._sections})  # fmt: skip


class Writer:
    """Turns the messages to one subscriber into lines of a recording."""

    def __init__(self) -> None:
        self._state = State()
        self._now = 0.0
        self._whole = float("-inf")  # when the last whole snapshot was written

    def lines(self, message: Message) -> list[bytes]:
        """Return the lines that a message becomes."""
        self._now = now = max(message.get("now", self._now), self._now)
        lines = []
        if "snapshot" in message:
            self._whole = now
            message = {"faucet": __version__, "protocol": PROTOCOL, **message}
        elif now - self._whole >= KEYFRAME_SECONDS:
            lines.append(self.whole())
        self._state.apply(message)
        lines.append(encode({"now": now, **{name: value for name, value in message.items() if name != "now"}}))
        return lines

    def whole(self) -> bytes:
        """Return a line with the whole state: reading can begin with it."""
        self._whole = self._now
        return self._state.keyframe(self._now)


def time_of(line: bytes) -> float:
    """Return the time that a line is of. Raises ValueError."""
    if not line.startswith(NOW):
        raise ValueError("not a line of a recording")
    return float(line[len(NOW) :].partition(b",")[0])


def is_whole(line: bytes) -> bool:
    """Whether reading can begin with a line."""
    return line.partition(b",")[2].startswith(b'"faucet":')


class Chunk:
    """The lines from one whole snapshot to the next."""

    def __init__(self, number: int, start: float) -> None:
        self.number = number
        self.start = self.end = start
        self._lines: list[bytes] = []
        self._packed = b""

    def add(self, when: float, line: bytes) -> None:
        """Add a line."""
        self.end = max(self.end, when)
        self._lines.append(line)

    def close(self) -> None:
        """Compress the lines: none will be added."""
        self._packed = zlib.compress(b"".join(self._lines), 1)
        self._lines = []

    @property
    def size(self) -> int:
        """Bytes, once it is closed."""
        return len(self._packed)

    @property
    def lines(self) -> list[bytes]:
        """The lines, which may become more until it is closed."""
        return self._lines or zlib.decompress(self._packed).splitlines(keepends=True)


class Recording:
    """The latest chunks, oldest first."""

    def __init__(self, seconds: float = KEPT_SECONDS, size: float = KEPT_BYTES) -> None:
        self.chunks: deque[Chunk] = deque()
        self._seconds = seconds
        self._most = size
        self._size = 0
        self._number = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Add lines, in order. What comes before the first whole snapshot is dropped. Raises ValueError."""
        for line in lines:
            when = time_of(line)
            if is_whole(line):
                self._begin(when)
            if self.chunks:
                self.chunks[-1].add(when, line)

    def _begin(self, when: float) -> None:
        if self.chunks:
            self.chunks[-1].close()
            self._size += self.chunks[-1].size
        self._number += 1
        self.chunks.append(Chunk(self._number, when))
        while len(self.chunks) > 2 and (self.chunks[1].start < when - self._seconds or self._size > self._most):
            self._size -= self.chunks.popleft().size

    @property
    def start(self) -> float:
        """When it begins; 0 if it is empty."""
        return self.chunks[0].start if self.chunks else 0.0

    @property
    def end(self) -> float:
        """When its last message was sent; 0 if it is empty."""
        return self.chunks[-1].end if self.chunks else 0.0


def load(path: Path) -> Recording:
    """Read a recording, of several parts if it was rotated: FILE.2, FILE.1, FILE. Raises RecordingError, OSError."""
    recording = Recording(float("inf"), float("inf"))
    for part in parts_of(path):
        with part.open("rb") as lines:
            for line in lines:
                if line.endswith(b"}\n"):  # else it was cut off, or it ends one that was
                    _add(recording, line, part)
    if not recording.chunks:
        raise RecordingError(f"{path} has no whole snapshot: it is empty, or not a recording")
    return recording


def _add(recording: Recording, line: bytes, part: Path) -> None:
    try:
        if is_whole(line):
            _check(decode(line))
        recording.add([line])
    except (ValueError, ProtocolError) as error:
        if recording.chunks:
            return  # a part of a line, or words about lines that could not be written
        raise RecordingError(f"{part} is not a recording of `faucet attach --record` or `--black-box`") from error


def _check(message: Message) -> None:
    """Raises RecordingError."""
    if message.get("protocol") != PROTOCOL:
        raise RecordingError(
            f"recorded by Faucet {str(message.get('faucet'))[:20]} with control protocol "
            f"{str(message.get('protocol'))[:20]}, this one has {PROTOCOL}: replay it with that version"
        )


def parts_of(path: Path) -> list[Path]:
    """Return the parts of a recording that was rotated, oldest first. Raises FileNotFoundError."""
    older = [other for other in path.parent.glob(f"{path.name}.*") if other.name[len(path.name) + 1 :].isdecimal()]
    older.sort(key=lambda other: -int(other.suffix[1:]))
    if not older and not path.exists():
        raise FileNotFoundError(path)
    return [*older, *([path] if path.exists() else [])]


def moment_of(text: str, recording: Recording) -> float:
    """Return the first moment of a recording with a time of day, `03:00` or `03:00:30`. Raises RecordingError."""
    begins, ends = (datetime.fromtimestamp(when) for when in (recording.start, recording.end))
    try:
        clock = time.fromisoformat(text)
    except ValueError as error:
        raise RecordingError(f"invalid time {text!r}; expected a time of day such as 03:00") from error
    moment = datetime.combine(begins, clock)
    if moment < begins.replace(microsecond=0):
        moment += timedelta(days=1)
    if moment > ends:
        raise RecordingError(f"{text} is not in the recording, which is from {begins:%H:%M:%S} to {ends:%H:%M:%S}")
    return moment.timestamp()


class RecordFile:
    """A file that a monitor records to. Only its user can read it: targets and addresses are in it."""

    def __init__(self, path: Path) -> None:
        """Create the file. Raises OSError: FileExistsError if it is there."""
        self._writer = Writer()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def take(self, message: Message) -> None:
        """Write one message. Raises OSError."""
        for line in self._writer.lines(message):
            view = memoryview(line)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
