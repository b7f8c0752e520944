"""The log: one line when ready, one per request, and each worker's life and output. Nothing else.

A request costs a list append and its share of one write (`sink.py`). Whatever comes from outside (targets, workers'
output) is made harmless: a log line has no control characters but its own colours.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import datetime
from time import time

from faucet.log.recent import RecentLog
from faucet.log.writer import FileOutput, Output, Sink
from faucet.proxy.stats import Record
from faucet.settings import LogSettings
from faucet.units import format_size

_log = logging.getLogger("faucet")

_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_DIM, _RED, _YELLOW, _GREEN, _CYAN, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[36m", "\x1b[0m"


class TextFormat:
    """Lines for people."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._millisecond = -1
        self._clock = ""

    def request(self, record: Record) -> str:
        """`time client "GET / HTTP/1.1" status bytes queue=… service=… worker=…`. Once per request: kept short."""
        status: int | str = record.status
        if self._colour:
            status = self._paint(str(status), _status_colour(record.status))
        sent = f"{record.sent}B" if record.sent < 1024 else format_size(record.sent)
        line = (
            f'{self._time(record.ended)} {record.client} "{_visible(record.method + b" " + record.target)} '
            f'HTTP/1.{record.minor}" {status} {sent} queue={record.waited * 1000:.1f}ms '
            f"service={record.service * 1000:.1f}ms worker={record.worker or '-'}"
        )
        line = f"{line} id={record.request_id}" if record.request_id else line
        return f"{line} ({record.note})" if record.note else line

    def output(self, worker: int, stream: str, line: str) -> str:
        """A line that a worker wrote."""
        return f"{self._time(time())} {self._paint(f'worker {worker} {stream} |', _DIM)} {_harmless(line)}"

    def message(self, level: int, text: str, worker: str | None) -> str:
        """A line of our own; the text names the worker already."""
        prefix = ""
        if level >= logging.ERROR:
            prefix = self._paint("error: ", _RED)
        elif level >= logging.WARNING:
            prefix = self._paint("warning: ", _YELLOW)
        return f"{self._time(time())} {prefix}{text}"

    def _time(self, when: float) -> str:
        """Local time in milliseconds. The text of a millisecond is made once."""
        millisecond = int(when * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            clock = datetime.fromtimestamp(millisecond // 1000).strftime("%Y-%m-%d %H:%M:%S")
            self._clock = self._paint(f"{clock}.{millisecond % 1000:03d}", _DIM)
        return self._clock

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text


class JsonFormat:
    """One JSON object a line. Names are stable; durations are seconds, sizes bytes."""

    def request(self, record: Record) -> str:
        """`event` is `request`."""
        return self._line(
            record.ended,
            "info",
            "request",
            client=record.client,
            method=_visible(record.method),
            target=_visible(record.target),
            protocol=f"HTTP/1.{record.minor}",
            status=record.status,
            bytes_sent=record.sent,
            bytes_received=record.received,
            queue_seconds=round(record.waited, 6),
            service_seconds=round(record.service, 6),
            worker=record.worker or None,
            note=record.note or None,
            request_id=record.request_id or None,
        )

    def output(self, worker: int, stream: str, line: str) -> str:
        """`event` is `output`."""
        return self._line(time(), "info", "output", worker=str(worker), stream=stream, text=line)

    def message(self, level: int, text: str, worker: str | None) -> str:
        """`event` is `message`."""
        return self._line(time(), logging.getLevelName(level).lower(), "message", worker=worker, text=text)

    @staticmethod
    def _line(when: float, level: str, event: str, **fields: object) -> str:
        stamp = datetime.fromtimestamp(when).astimezone().isoformat(timespec="milliseconds")
        return json.dumps({"time": stamp, "level": level, "event": event, **fields}, ensure_ascii=False)


class Log(logging.Handler):
    """Everything that is logged goes through here: messages by `logging`, the frequent kinds directly."""

    def __init__(self, settings: LogSettings, quiet: bool = False) -> None:
        """`quiet`: write to the file only, if there is one. Raises OSError if that cannot be opened."""
        super().__init__()
        self.recent_log = RecentLog()
        self._quiet = quiet
        self._in_file = settings.log_file is not None
        self._for_people = settings.log_format == "text"
        self._parting_words = ""
        output = Output(2)
        if settings.log_file is not None:
            output = FileOutput(settings.log_file, settings.log_max_size, settings.log_keep)
            if not quiet:
                print_error(f"the log is in {settings.log_file}")
        colour = os.isatty(output.descriptor) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._format = TextFormat(colour) if self._for_people else JsonFormat()
        self._sink = None if quiet and not self._in_file else Sink(output, self._format.request)
        number = getattr(logging, settings.log_level.upper())
        self._informative = number <= logging.INFO
        self.request: Callable[[Record], None] = _ignore
        """Log one exchange."""
        if self._informative and self._sink is not None:
            self.request = self._sink.add
        self._least = number
        for name in ("faucet", "asyncio"):
            logger = logging.getLogger(name)
            # The journal hears what the log may be spared.
            logger.setLevel(min(number, logging.INFO) if name == "faucet" else max(number, logging.WARNING))
            logger.handlers = [self]
            logger.propagate = False

    def announce(self, text: str, level: int = logging.INFO) -> None:
        """Log what whoever started Faucet should see: on standard error too, if the log goes elsewhere."""
        _log.log(level, "%s", text)
        if self._in_file and not self._quiet:
            print_error(text)

    def failure(self, text: str) -> None:
        """Why there will be no service: in the log, and for people on standard error."""
        if self._in_file or not self._for_people:
            _log.error("%s", text)
        if self._in_file or self._for_people:
            self._parting_words = text

    def output(self, worker: int, stream: str, line: str) -> None:
        """Log a line of a worker's output."""
        self.recent_log.add(time(), stream, str(worker), line)
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
        """The file was renamed: go on in a new one."""
        if self._sink is not None:
            self._sink.output.reopen()

    def close(self) -> None:
        """Write what is left."""
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
    """Visible octets by grammar; a quote would end the quoted request line."""
    text = octets.decode("latin-1")
    return text.replace('"', "%22") if '"' in text else text


def _harmless(text: str) -> str:
    """Control characters as text."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def print_error(text: str) -> None:
    """One message on standard error, if that is still there, for what happens beside the log."""
    with contextlib.suppress(OSError):
        colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        prefix = f"{_RED}faucet:{_RESET}" if colour else "faucet:"
        print(f"{prefix} {text}", file=sys.stderr, flush=True)
