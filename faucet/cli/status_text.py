"""What `faucet ctl status` says around the table of workers, from the answer of the service."""

from __future__ import annotations

from typing import Any

from faucet.status.columns import format_age, format_latency
from faucet.status.format import notice_line
from faucet.status.group import group_of
from faucet.status.group import lines as group_lines
from faucet.status.limits import limit_line
from faucet.status.moments import WINDOW
from faucet.status.snapshot import LimitRow, Notice, WorkerRow
from faucet.units import format_size

EXITS_SHOWN = 5


def head_lines(data: Any, ascii_only: bool) -> list[str]:
    """Return the lines above the workers: what is served, what is wrong, and the totals."""
    now = data["now"]
    old = any(notice["kind"] == "reload" for notice in data["notices"])
    service, totals = _service(data["service"], now, old), _totals(data["totals"], now)
    return [*service, *_notices(data, ascii_only), *totals, *limit_lines(data)]


def limit_lines(data: Any) -> list[str]:
    """Return a line for each limit of endpoints."""
    return [limit_line(LimitRow(**row), data["now"]) for row in data["limits"]]


def exit_lines(data: Any) -> list[str]:
    """Return how workers have ended last that nobody has asked to end, the latest first."""
    rows = sorted((WorkerRow(**row) for row in data["workers"] if row["exited"]), key=lambda row: -row.exited)
    return [f"worker {row.name}, {format_age(data['now'] - row.exited)} ago: {row.exit}" for row in rows[:EXITS_SHOWN]]


def _service(service: Any, now: float, old_code: bool) -> list[str]:
    code = " OLD CODE" if old_code else ""
    state = f"{service['state']}{code}, up {format_age(now - service['started'])}, pid {service['pid']}"
    lines = [f"{service['title']} ({service['detail']}) on {service['url']}: {state}"]
    if service["link"]:
        detail = f" ({service['link_detail']})" if service["link_detail"] else ""
        age = format_age(now - service["link_since"])
        lines.append(f"through {service['link']}, {service['link_state']} for {age}{detail}")
    if service["template"] >= 0:
        lines.append(f"forked from the template, pid {service['template'] or '- (none now)'}")
    if service["resolved_by"]:
        resolved = f"{format_age(now - service['resolved'])} ago" if service["resolved"] else "not yet"
        lines.append(f"pods from {service['resolved_by']}, resolved {resolved}")
    if group := group_of(service["group"]):
        lines += group_lines(group, now)
    if service["black_box"]:
        lines.append(f"black box: {service['black_box']}")
    return lines


def _notices(data: Any, ascii_only: bool) -> list[str]:
    """Return what happens, and what is wrong, with the commands that repair it where the texts do not have them."""
    notices = [Notice(**row) for row in data["notices"]]
    happening = data["service"]["notice"]
    lines = [] if happening in ["", *(notice.text for notice in notices)] else [happening]
    for notice in notices:
        lines.append(notice_line(notice, data["now"], ascii_only))
        if notice.command and notice.command not in notice.text:
            lines.append(f"  {notice.command}")
    return lines


def _totals(totals: Any, now: float) -> list[str]:
    oldest = f", the first for {format_age(now - totals['oldest'])}" if totals["oldest"] else ""
    buffers = f"{format_size(totals['buffered'])}/{format_size(totals['buffer_total'])}"
    window = "minute" if totals["seconds"] == WINDOW else format_age(totals["seconds"])
    figures = [
        f"in the last {window} {totals['rps']:.1f} requests/s",
        f"p50 {format_latency(totals['p50'])}",
        f"p95 {format_latency(totals['p95'])}",
        f"{totals['errors']} errors",
        f"{totals['refused']} refused",
    ]
    busy = f"busy {totals['locked']}/{totals['workers']}, {totals['waiting']} queued{oldest}"
    return [f"{busy}; {', '.join(figures)}", f"clients {totals['clients']}/{totals['max_clients']}, buffers {buffers}"]
