"""The log: one line per request, workers' output, and Faucet's messages, as text or JSON.

A request costs a list append and its share of one write (`writer.py`). Text from outside (targets, workers' output) is
escaped: a log line has no control characters but its own colours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from time import time
from typing import Protocol

from faucet.log.r_errors import gist
from faucet.log.recent import RecentLog
from faucet.log.redact import redactor
from faucet.log.writer import FileOutput, Output, Sink
from faucet.proxy.stats import UNKNOWN, Record
from faucet.settings import LogSettings
from faucet.text import LINES, escaped, print_error, to_json
from faucet.units import format_size

_log = logging.getLogger("faucet")

_DIM, _RED, _YELLOW, _GREEN, _CYAN, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[36m", "\x1b[0m"


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
        return self._line(time(), "info", "output", worker=_name(worker), stream=stream, text=line)

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


def _name(worker: int) -> str:
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


class Log(logging.Handler):
    """The log: receives messages from `logging`; requests and workers' output, which are frequent, directly."""

    def __init__(self, settings: LogSettings, quiet: bool = False) -> None:
        """Open the log. `quiet`: write to the file only, if any. Raises OSError if that cannot be opened."""
        super().__init__()
        self.recent_log = RecentLog()
        self._quiet = quiet
        self._in_file = settings.log_file is not None
        self._for_people = settings.log_format == "text"
        self._on_stderr = False  # the file is not writable
        self._parting_words = ""
        output = Output(2)
        if settings.log_file is not None:
            output = self._open_file(settings)
        colour = not self._in_file and os.isatty(2) and "NO_COLOR" not in os.environ
        colour = colour and os.environ.get("TERM") != "dumb"
        self._format: Format = TextFormat(colour) if self._for_people else JsonFormat()
        redact = redactor(settings.log_redact)
        if redact is not None:
            self._format = RedactedFormat(self._format, redact)
        self._sink = None if quiet and not self._in_file else Sink(output, self._format.request, self._in_trouble)
        if self._sink is not None:
            self.recent_log.lost, self.recent_log.trouble = self._sink.lost, self._sink.trouble
        number = getattr(logging, settings.log_level.upper())
        self._informative = number <= logging.INFO
        self.request: Callable[[Record], None] = _ignore
        """Log one exchange."""
        if self._informative and self._sink is not None:
            self.request = self._sink.add
        self._least = number
        for name in ("faucet", "asyncio"):
            logger = logging.getLogger(name)
            # The ring of recent entries gets messages from INFO on, whatever the log's own level.
            logger.setLevel(min(number, logging.INFO) if name == "faucet" else max(number, logging.WARNING))
            logger.handlers = [self]
            logger.propagate = False

    def _open_file(self, settings: LogSettings) -> FileOutput:
        """Open the file; until it can be written, use standard error or, with a monitor, nothing. Raises OSError."""
        assert settings.log_file is not None
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            output = FileOutput(
                settings.log_file, settings.log_max_size, settings.log_keep, instead=null if self._quiet else 2
            )
        finally:
            os.close(null)
        if output.problem:
            self._on_stderr = not self._quiet
            where = "it is kept in memory only" if self._quiet else "it goes to standard error"
            text = f"cannot write the log to {settings.log_file} ({output.problem}): {where} until that is possible"
            self.recent_log.add(time(), "warning", "", text)
        else:
            text = f"logging to {settings.log_file}"
        if not self._quiet:
            print_error(text)
        return output

    def _in_trouble(self, text: str) -> None:
        """Report that the log cannot be written, or can be again: in the recent log, and on standard error."""
        self.recent_log.add(time(), "warning", "", text)
        if self._in_file and not self._quiet:
            print_error(text)

    def announce(self, text: str, level: int = logging.INFO) -> None:
        """Log a message for the user who started Faucet: also on standard error, if the log goes elsewhere."""
        _log.log(level, "%s", text)
        if self._in_file and not (self._quiet or self._on_stderr):
            print_error(text)

    def failure(self, text: str) -> None:
        """Report why the service cannot start: in the log, and for people on standard error."""
        if self._in_file or not self._for_people:
            _log.error("%s", text)
        if self._in_file or self._for_people:
            self._parting_words = text

    def output(self, worker: int, stream: str, line: str) -> None:
        """Log a line of a worker's output."""
        self.recent_log.add(time(), stream, _name(worker), line)
        if self._informative and self._sink is not None:
            self._sink.write(self._format.output(worker, stream, line))

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        worker = getattr(record, "worker", None)
        source = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        self.recent_log.add(record.created, source, worker or "", text)
        if self._sink is not None and record.levelno >= self._least:
            self._sink.write(self._format.message(record.levelno, text, worker))

    def reopen(self) -> None:
        """Reopen the log file, which was renamed."""
        if self._sink is not None:
            self._sink.output.reopen()

    def close(self) -> None:
        """Write what is pending, and close the output."""
        super().close()
        if self._sink is not None:
            self._sink.close()
        words, self._parting_words = self._parting_words, ""
        if words:
            print_error(words)


def _ignore(_record: Record) -> None:
    pass


def _status_colour(status: int) -> str:
    return {2: _GREEN, 3: _CYAN, 4: _YELLOW, 5: _RED}.get(status // 100, _DIM)


def _visible(octets: bytes) -> str:
    """Return octets as text: visible by grammar, but a quote would end the quoted request line."""
    text = octets.decode("latin-1")
    return text.replace('"', "%22") if '"' in text else text


def _unquoted(error: str) -> str:
    """Return the message of an error, harmless in quotes."""
    return escaped(gist(error)).replace('"', "'")
