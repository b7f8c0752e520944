"""The lines of the log, as text or JSON. Text from outside (targets, workers' output) is escaped: a line has no control
characters but its own colours.

Compiled with the proxy: after parsing, its line is the dearest thing about a short request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from time import time
from typing import Final, Protocol

from faucet.log.r_errors import gist
from faucet.proxy.stats import UNKNOWN, Record
from faucet.text import LINES, escaped, to_json
from faucet.units import format_size

_DIM: Final = "\x1b[2m"
_RED: Final = "\x1b[31m"
_YELLOW: Final = "\x1b[33m"
_GREEN: Final = "\x1b[32m"
_CYAN: Final = "\x1b[36m"
_RESET: Final = "\x1b[0m"


class Format(Protocol):
    """Makes a line of each entry of the log."""

    def request(self, record: Record) -> str:
        """Return the line of a request."""
        ...

    def output(self, worker: int, stream: str, line: str) -> str:
        """Return a line of a worker's output."""
        ...

    def message(self, level: int, text: str, worker: str | None) -> str:
        """Return a message of Faucet."""
        ...


class TextFormat:
    """Formats log lines as text, for people."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._millisecond = -1
        self._clock = ""

    def request(self, record: Record) -> str:
        """Return `time client "GET / HTTP/1.1" status bytes queue=… service=… worker=…`. Runs once per request."""
        status: int | str = record.status
        if self._colour:
            status = self._paint(str(status), _status_colour(record.status))
        sent = f"{record.sent}B" if record.sent < 1024 else format_size(record.sent)
        waited, service = int(record.waited * 10_000 + 0.5), int(record.service * 10_000 + 0.5)
        asked = "-"
        if record.minor != UNKNOWN:
            asked = f"{_visible(record.method + b' ' + record.target)} HTTP/1.{record.minor}"
        line = (
            f'{self._time(record.ended)} {record.client} "{asked}" {status} {sent} queue={_milliseconds(waited)}ms '
            f"service={_milliseconds(service)}ms worker={record.worker or '-'}"
        )
        line = f"{line} id={record.request_id}" if record.request_id else line
        line = f'{line} error="{_unquoted(record.error)}"' if record.error else line
        return f"{line} ({record.note})" if record.note else line

    def output(self, worker: int, stream: str, line: str) -> str:
        """Return a line of a worker's output."""
        return f"{self._time(time())} {self._paint(f'{_source(worker)} {stream} |', _DIM)} {escaped(line)}"

    def message(self, level: int, text: str, worker: str | None) -> str:
        """Return a message of Faucet; its text names the worker already."""
        prefix = ""
        if level >= logging.ERROR:
            prefix = self._paint("error: ", _RED)
        elif level >= logging.WARNING:
            prefix = self._paint("warning: ", _YELLOW)
        return f"{self._time(time())} {prefix}{escaped(text, LINES)}"

    def _time(self, when: float) -> str:
        """Return the local time with milliseconds; the text is cached for a millisecond."""
        millisecond = int(when * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            clock = datetime.fromtimestamp(millisecond // 1000).strftime("%Y-%m-%d %H:%M:%S")
            self._clock = self._paint(f"{clock}.{millisecond % 1000:03d}", _DIM)
        return self._clock

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text


class JsonFormat:
    """Formats log lines as JSON, one object per line. Names are stable; durations are in seconds, sizes in bytes."""

    def request(self, record: Record) -> str:
        """Return the line of a request: `event` is `request`."""
        return self._line(
            record.ended,
            "info",
            "request",
            client=record.client,
            method=_visible(record.method),
            target=_visible(record.target),
            protocol=f"HTTP/1.{record.minor}" if record.minor != UNKNOWN else None,
            status=record.status,
            bytes_sent=record.sent,
            bytes_received=record.received,
            queue_seconds=round(record.waited, 6),
            service_seconds=round(record.service, 6),
            worker=record.worker or None,
            note=record.note or None,
            request_id=record.request_id or None,
            error=record.error or None,
        )

    def output(self, worker: int, stream: str, line: str) -> str:
        """Return a line of a worker's output: `event` is `output`."""
        return self._line(time(), "info", "output", worker=worker_name(worker), stream=stream, text=line)

    def message(self, level: int, text: str, worker: str | None) -> str:
        """Return a message of Faucet: `event` is `message`."""
        return self._line(time(), logging.getLevelName(level).lower(), "message", worker=worker, text=text)

    @staticmethod
    def _line(when: float, level: str, event: str, **fields: object) -> str:
        stamp = datetime.fromtimestamp(when).astimezone().isoformat(timespec="milliseconds")
        return to_json({"time": stamp, "level": level, "event": event, **fields})


@lru_cache(4096)
def _milliseconds(tenths: int) -> str:
    """Return e.g. `12.5`. To format a float costs a quarter of the whole line, and most times are short."""
    return f"{tenths / 10:.1f}"


def worker_name(worker: int) -> str:
    """Return what writes: workers count from 1; 0 is the template that they are forked from (--preload)."""
    return str(worker) if worker else "template"


def _source(worker: int) -> str:
    return f"worker {worker}" if worker else "template"


class RedactedFormat:
    """Formats log lines as another format does, and takes secrets out of each."""

    def __init__(self, form: Format, redact: Callable[[str], str]) -> None:
        self._form = form
        self._redact = redact

    def request(self, record: Record) -> str:
        """See Format."""
        return self._redact(self._form.request(record))

    def output(self, worker: int, stream: str, line: str) -> str:
        """See Format."""
        return self._redact(self._form.output(worker, stream, line))

    def message(self, level: int, text: str, worker: str | None) -> str:
        """See Format."""
        return self._redact(self._form.message(level, text, worker))


def _status_colour(status: int) -> str:
    return {2: _GREEN, 3: _CYAN, 4: _YELLOW, 5: _RED}.get(status // 100, _DIM)


def _visible(octets: bytes) -> str:
    """Return octets as text: visible by grammar, but a quote would end the quoted request line."""
    text = octets.decode("latin-1")
    return text.replace('"', "%22") if '"' in text else text


def _unquoted(error: str) -> str:
    """Return the message of an error, harmless in quotes."""
    return escaped(gist(error)).replace('"', "'")
