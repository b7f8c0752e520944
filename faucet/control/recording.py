"""A recording of the messages to a subscriber: JSON lines, from which the state at any moment can be restored.

Each line is a message of the control protocol with its time, `now`, as the first field. A complete snapshot (keyframe)
with the version of the protocol is written every KEYFRAME_SECONDS. Reading can begin at any keyframe, so the oldest
part of a recording can be dropped, and a truncated recording can be read. In memory, also after a file is loaded, the
lines between two keyframes are compressed to a tenth of their size.
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
"""Seconds between two keyframes."""

KEPT_SECONDS = 900.0
"""Length of the recording in a monitor's memory, in seconds."""

KEPT_BYTES = 32 << 20
"""Limit of the recording in a monitor's memory, in compressed bytes."""

NOW = b'{"now":'


class RecordingError(Exception):
    """A file is not a recording, or was written by another version. The message is shown to the user."""


class State:
    """The state of a subscriber: the sections of a snapshot, updated by changes."""

    def __init__(self) -> None:
        self._sections: dict[str, Any] = {}

    def apply(self, message: Message) -> None:
        """Update the state with one message."""
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
        """Return a line with the complete state."""
        return encode({"now": now, "faucet": __version__, "protocol": PROTOCOL, "keyframe": True,
                       "snapshot": self._sections})  # fmt: skip


class Writer:
    """Turns the messages to one subscriber into lines of a recording."""

    def __init__(self) -> None:
        self._state = State()
        self._now = 0.0
        self._whole = float("-inf")  # when the last keyframe was written

    def lines(self, message: Message) -> list[bytes]:
        """Return the lines for a message, with a keyframe first if one is due."""
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
        """Return a keyframe: a line with the complete state, at which reading can begin."""
        self._whole = self._now
        return self._state.keyframe(self._now)


def time_of(line: bytes) -> float:
    """Return the time of a line, in seconds since the epoch. Raises ValueError if it is not a line of a recording."""
    if not line.startswith(NOW):
        raise ValueError("not a line of a recording")
    return float(line[len(NOW) :].partition(b",")[0])


def is_whole(line: bytes) -> bool:
    """Return whether reading can begin with this line."""
    return line.partition(b",")[2].startswith(b'"faucet":')


class Chunk:
    """The lines from one keyframe to the next."""

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
        """Compress the lines. No line can be added afterwards."""
        self._packed = zlib.compress(b"".join(self._lines), 1)
        self._lines = []

    @property
    def size(self) -> int:
        """Compressed size in bytes; 0 until the chunk is closed."""
        return len(self._packed)

    @property
    def lines(self) -> list[bytes]:
        """The lines. More may be added until the chunk is closed."""
        return self._lines or zlib.decompress(self._packed).splitlines(keepends=True)


class Recording:
    """The latest chunks, oldest first, up to a number of seconds and of compressed bytes."""

    def __init__(self, seconds: float = KEPT_SECONDS, size: float = KEPT_BYTES) -> None:
        self.chunks: deque[Chunk] = deque()
        self._seconds = seconds
        self._most = size
        self._size = 0
        self._number = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Add lines, in order. Lines before the first keyframe are dropped. Raises ValueError for an invalid line."""
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
        """When the recording begins; 0 if it is empty."""
        return self.chunks[0].start if self.chunks else 0.0

    @property
    def end(self) -> float:
        """When the last message was sent; 0 if the recording is empty."""
        return self.chunks[-1].end if self.chunks else 0.0


def load(path: Path) -> Recording:
    """Read a recording with its rotated parts: FILE.2, FILE.1, FILE. Raises RecordingError, OSError."""
    recording = Recording(float("inf"), float("inf"))
    for part in parts_of(path):
        with part.open("rb") as lines:
            for line in lines:
                if line.endswith(b"}\n"):  # otherwise the line is truncated, or only ends a truncated line
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
            return  # a fragment of a line, or a message about lines that could not be written
        raise RecordingError(f"{part} is not a recording of `faucet attach --record` or `--black-box`") from error


def _check(message: Message) -> None:
    """Check the protocol version of a keyframe. Raises RecordingError if it differs."""
    if message.get("protocol") != PROTOCOL:
        raise RecordingError(
            f"recorded by Faucet {str(message.get('faucet'))[:20]} with control protocol "
            f"{str(message.get('protocol'))[:20]}, this one has {PROTOCOL}: replay it with that version"
        )


def parts_of(path: Path) -> list[Path]:
    """Return the files of a recording, rotated ones included, oldest first. Raises FileNotFoundError."""
    older = [other for other in path.parent.glob(f"{path.name}.*") if other.name[len(path.name) + 1 :].isdecimal()]
    older.sort(key=lambda other: -int(other.suffix[1:]))
    if not older and not path.exists():
        raise FileNotFoundError(path)
    return [*older, *([path] if path.exists() else [])]


def moment_of(text: str, recording: Recording) -> float:
    """Return the first moment in a recording at a time of day, `03:00` or `03:00:30`. Raises RecordingError."""
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
    """The file to which a monitor records. It is not readable for others: it contains request targets and addresses."""

    def __init__(self, path: Path) -> None:
        """Create the file. Raises OSError; FileExistsError if it exists."""
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
