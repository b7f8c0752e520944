"""A request as text: its time line, the output of its worker during the request, and a command to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import inf

from faucet.log.r_errors import is_error
from faucet.status.format import clock
from faucet.status.snapshot import LogRow, RequestRow
from faucet.text import visible
from faucet.units import format_duration, format_size

PIPE_SECONDS = 0.1
"""Seconds after the end of a request in which output of its worker may still arrive, since it uses a separate pipe."""


def is_r_error(row: LogRow) -> bool:
    """Return whether a line of a worker's output starts an error message."""
    return row.source in ("out", "err") and is_error(row.text)


def span_of(request: RequestRow, following: float = inf) -> tuple[float, float]:
    """Return when the lock was acquired, and until when lines belong to the request. Records round to milliseconds.

    `following`: when the worker was locked the next time.
    """
    until = min(request.ended + PIPE_SECONDS, max(following - 0.001, request.ended))
    return request.ended - request.service - 0.001, until


def timeline(request: RequestRow, width: int, plain: bool) -> str:
    """Return the phases of a request on one line of `width` characters, each as long as its share of the time."""
    served = request.service - request.left
    parts = [("queued", request.waited), ("R" if request.worker else "", served), ("client gone", request.left)]
    shown = [(f" {name} {format_duration(seconds)} ", seconds) for name, seconds in parts if seconds > 0 and name]
    total = sum(seconds for _, seconds in shown)
    room = width - sum(len(text) for text, _ in shown) - len(shown) - 1
    if not shown or room < 0:
        return "".join(text for text, _ in shown).strip()
    edge, line = ("|", "-") if plain else ("├", "─")
    text, left = "", room
    for number, (label, seconds) in enumerate(shown, 1):
        dashes = int(room * seconds / total) if number < len(shown) else left
        left -= dashes
        text += f"{edge}{line * (dashes // 2)}{label}{line * (dashes - dashes // 2)}"
        edge = "|" if plain else "┼"
    return text + ("|" if plain else "┤")


def curl(request: RequestRow, url: str) -> str:
    """Return the command that repeats a request, without its fields and its body, which are not kept."""
    method = "" if request.method == "GET" else f"-X {shlex.quote(visible(request.method))} "
    target = request.target if request.target.startswith("/") else "/"
    return f"curl -i {method}{shlex.quote(url.rstrip('/') + visible(target))}"


def request_details(item: RequestRow, written: Sequence[LogRow] | None, width: int, plain: bool) -> str:
    """Return the details of a finished request. `written`: the output of its worker during it; None: not known yet."""
    arrived = item.ended - item.service - item.waited
    lines = [
        f"{item.method} {visible(item.target)}",
        "",
        *_times(clock(arrived), clock(item.ended), item, width, plain),
        "",
        f"status         {item.status}",
        f"client         {item.client}",
        f"worker         {item.worker or 'none'}",
        f"in the queue   {format_duration(item.waited)}",
        f"in the worker  {format_duration(item.service)}",
        f"request        {format_size(item.received)}",
        f"response       {format_size(item.sent)}",
        f"id             {visible(item.request_id) or 'none (--request-id gives one)'}",
        f"note           {visible(item.note) or 'none'}",
        f"error          {visible(item.error) or 'none'}",
    ]
    return "\n".join([*lines, *_written(item, written, plain)])


def _times(arrived: str, ended: str, item: RequestRow, width: int, plain: bool) -> list[str]:
    around = len(arrived) + len(ended) + 4
    if width < around + 32:
        return [f"{arrived} to {ended}", timeline(item, width, plain)]
    return [f"{arrived}  {timeline(item, width - around, plain)}  {ended}"]


def _written(item: RequestRow, written: Sequence[LogRow] | None, plain: bool) -> list[str]:
    if not item.worker:
        return []
    title = ["", f"What worker {item.worker} wrote meanwhile:"]
    if written is None:
        return [*title, "  loading"]
    arrow = "<-" if plain else "◀"
    return title + ([
        f"  {clock(row.when)} {row.source}  {visible(row.text)}{f'  {arrow} error' if is_r_error(row) else ''}"
        for row in written
    ] or ["  nothing"])  # fmt: skip
