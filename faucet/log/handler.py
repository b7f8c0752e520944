"""The log: one line per request, workers' output, and Faucet's messages, as text or JSON.

A request costs a list append and its share of one write (`writer.py`). Text from outside (targets, workers' output) is
escaped: a log line has no control characters but its own colours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from time import time

from faucet.log.formats import Format, JsonFormat, RedactedFormat, TextFormat, worker_name
from faucet.log.recent import RecentLog
from faucet.log.redact import redactor
from faucet.log.writer import FileOutput, Output, Sink
from faucet.proxy.stats import Record
from faucet.settings import LogSettings
from faucet.text import print_error

_log = logging.getLogger("faucet")


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
        self.recent_log.add(time(), stream, worker_name(worker), line)
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
