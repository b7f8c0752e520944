"""Items as lines: log lines, requests, queued requests and events."""

from __future__ import annotations

from faucet.log.r_errors import gist
from faucet.status.format import clock, request_text
from faucet.status.snapshot import LogRow, RequestRow
from faucet.text import visible
from faucet.tui.lines import Line
from faucet.tui.model import LogItem
from faucet.tui.request_text import is_r_error
from faucet.units import format_duration, format_size

SOURCES = ("everything", "output", "requests", "trouble")
"""The kinds of lines that the log view can be limited to."""


def status_paint(status: int) -> str:
    """Return the paint of an HTTP status code."""
    return "error" if status >= 500 else "warning" if status >= 400 else "ok"


def log_line(item: LogItem, worker: str | None, source: str) -> Line | None:
    """Return a log line, or None if it is not about `worker` (None: any) or not of the kind `source`."""
    if worker is not None and item.worker != worker:
        return None
    if isinstance(item, RequestRow):
        if source == "output" or (source == "trouble" and item.status < 500):
            return None
        return _request_in_log(item)
    if source == "requests" or (source == "trouble" and item.source in ("out", "info") and not is_r_error(item)):
        return None
    return _message(item)


def worker_tag(name: str) -> str:
    """Return the short name of a worker in log lines: `w3`, or the end of a pod's name, since the end is unique."""
    return f"w{name}" if name.isdecimal() else name[-TAG_LIMIT:] or "-"


TAG_LIMIT = 15
"""Most characters of a pod's name in log lines."""


def _request_in_log(item: RequestRow) -> Line:
    where = worker_tag(item.worker)
    status, _, rest = request_text(item).partition(" ")
    return Line(
        [(f"{clock(item.ended)} ", "dim"), (f"{where:<3} http ", "dim"), (status, status_paint(item.status)),
         (f" {visible(rest)}", "text"), (_error(item), "error")], item,
    )  # fmt: skip


def _error(item: RequestRow) -> str:
    """Return the main line of the error that R wrote; empty if there is none."""
    return f"  {visible(gist(item.error))}" if item.error else ""


PAINT_OF_SOURCE = {"err": "warning", "warning": "warning", "error": "error", "info": "title", "skipped": "dim"}


def _message(item: LogRow) -> Line:
    own = item.source not in ("out", "err")
    where = "faucet  " if own else f"{worker_tag(item.worker):<3} {item.source:<4}"
    paint = "error" if is_r_error(item) else PAINT_OF_SOURCE.get(item.source, "text")
    return Line([(f"{clock(item.when)} ", "dim"), (f"{where} ", "dim"), (visible(item.text), paint)], item)


def event_line(item: LogRow, plain: bool) -> Line:
    """Return an event as a line."""
    glyph = {"warning": "!", "error": "x" if plain else "✖"}.get(item.source, " ")
    return Line(
        [(f"{clock(item.when)} ", "dim"), (f"{glyph} ", PAINT_OF_SOURCE[item.source]),
         (visible(item.text), PAINT_OF_SOURCE[item.source])], item,
    )  # fmt: skip


def request_line(item: RequestRow) -> Line:
    """Return a finished request as a line: time, worker, status, times, bytes, request, and R's error."""
    return Line(
        [(f"{clock(item.ended)} ", "dim"), (f"{worker_tag(item.worker):<3} ", "title"),
         (f"{item.status} ", status_paint(item.status)),
         (f"q={format_duration(item.waited):<7} {format_duration(item.service):>7} ", "text"),
         (f"{format_size(item.sent):>8}  ", "text"),
         (f"{item.method} {visible(item.target)}", "strong"),
         (f"  {item.client}", "dim"), (f"  {visible(item.note)}" if item.note else "", "warning"),
         (_error(item), "error")], item,
    )  # fmt: skip
