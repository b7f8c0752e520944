"""`faucet ctl`: the same controls as the monitor's, for scripts."""

from __future__ import annotations

import asyncio
import getpass
import select
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from faucet.cli.exit_codes import CTL_EXIT_CODES, EXIT_FAILED, EXIT_INTERRUPTED
from faucet.cli.parameters import option_of, which_service, whole_number
from faucet.cli.status_text import exit_lines, head_lines, limit_lines
from faucet.cli.tables import ascii_only, print_table
from faucet.control.client import Client, NoRuntime, Refusal
from faucet.control.find import HERE, Place, find, find_active
from faucet.control.protocol import Message
from faucet.log.r_errors import gist
from faucet.machine import user_name
from faucet.settings import SshSettings, Which
from faucet.ssh.target import Target
from faucet.status.columns import Cell, columns_of, format_age
from faucet.status.endpoint_columns import counted_in, endpoint_columns
from faucet.status.format import clock, log_prefix
from faucet.status.queue import Prospect, client_text, outlook, refused_text, start_text, took_by_endpoint
from faucet.status.snapshot import EndpointRow, LimitRow, LogRow, Notice, RequestRow, Service, WaitingRow, WorkerRow
from faucet.status.usage import Usage, sample_usage
from faucet.text import print_error, to_json, visible, visible_lines
from faucet.units import format_duration, format_size


@dataclass(frozen=True)
class Where:
    """Which runtime is meant, and on which machine."""

    at: Annotated[
        Which | None,
        Parameter(
            "--at",
            help="Port, or path of the control socket, if several are running.",
            converter=which_service,
            metavar="PORT|PATH",
            n_tokens=1,
            accepts_keys=False,
        ),
    ] = None
    active: Annotated[
        bool, Parameter("--active", help="With --ha: ask the active, whichever Faucet this is.", negative=())
    ] = False
    via_ssh: Annotated[tuple[Target, ...], option_of(SshSettings, "via_ssh")] = ()
    ssh_config: Annotated[Path | None, option_of(SshSettings, "ssh_config")] = None
    ssh_key: Annotated[Path | None, option_of(SshSettings, "ssh_key")] = None
    ssh_known_hosts: Annotated[Path | None, option_of(SshSettings, "ssh_known_hosts")] = None


At = Annotated[Where | None, Parameter(name="*")]
Json = Annotated[bool, Parameter(("--json", "-j"), help="JSON for programs.", negative=())]


def _at_least_one(_type: Any, value: int) -> None:
    """Raises ValueError."""
    if value < 1:
        raise ValueError("must be at least 1")


Last = Annotated[int, Parameter(("--last", "-n"), help="How many.", converter=whole_number, validator=_at_least_one)]

app = App(name="ctl", help="Watch and control a Faucet that is running.", help_epilogue=CTL_EXIT_CODES,
          help_format="plaintext", version_flags=())  # fmt: skip


def _run(at: Where | None, talk: Callable[[Client], Awaitable[int]], stays: bool = False) -> int:
    """Talk to the runtime that is meant. `stays`: for more than commands and their answers. The exit code."""
    where = at or Where()

    async def main(place: Place) -> int:
        try:
            client = await (find_active if where.active and stays else find)(where.at, place)
            client.asks_active = where.active and not stays
            try:
                code = await talk(client)
                sys.stdout.flush()
                return code
            finally:
                await client.close()
        finally:
            await place.close()

    try:
        return asyncio.run(main(_place(where)))
    except (NoRuntime, Refusal) as error:
        print_error(str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _place(where: Where) -> Place:
    """Raises NoRuntime."""
    if not where.via_ssh:
        return HERE
    from faucet.cli.ssh_login import place_of
    from faucet.fleet import StartFailed

    try:
        settings = SshSettings(
            via_ssh=where.via_ssh, ssh_config=where.ssh_config, ssh_key=where.ssh_key,
            ssh_known_hosts=where.ssh_known_hosts,
        )  # fmt: skip
        return place_of(settings)
    except StartFailed as error:
        raise NoRuntime(str(error)) from error


def _who() -> str:
    """Who asks, for the runtime's log."""
    try:
        return f"{getpass.getuser()} (ctl)"
    except (KeyError, OSError):  # a user without a name, as in many a container
        return f"{user_name()} (ctl)"


def _ask(at: Where | None, do: str, **arguments: Any) -> int:
    """Ask for something, and print what will happen."""

    async def talk(client: Client) -> int:
        _say(await client.ask(do, who=_who(), **arguments))
        return 0

    return _run(at, talk)


def _say(text: str, flush: bool = False) -> None:
    """Print what a runtime says, which may quote R or a client, as lines without control characters."""
    print(visible_lines(text), flush=flush)


def _say_all(lines: Sequence[str]) -> None:
    for line in lines:
        _say(line)


def _print_json(data: Any) -> None:
    print(to_json(data, indent=2))


# -- looking ----------------------------------------------------------------------------------------------------


@app.command
def status(*, at: At = None, as_json: Json = False) -> int:
    """Show what is served, the workers, their locks and the queue."""

    async def talk(client: Client) -> int:
        data = await client.ask("status")
        if as_json:
            _print_json(data)
            return 0
        _say_all(head_lines(data, ascii_only()))
        await _print_workers(data)
        _say_all(exit_lines(data))
        return 0

    return _run(at, talk)


@app.command
def workers(*, at: At = None, as_json: Json = False) -> int:
    """Show the workers, each with its lock and the request that holds it."""

    async def talk(client: Client) -> int:
        data = await client.ask("status")
        if as_json:
            _print_json(data["workers"])
        else:
            await _print_workers(data)
        return 0

    return _run(at, talk)


async def _print_workers(data: Any) -> None:
    rows = [WorkerRow(**row) for row in data["workers"]]
    service = Service(**data["service"])
    usage = await _usage(rows, service.kind == "preload") if service.mode == "local" else {}
    cells = [Cell(row, data["now"], usage.get(row.pid), ascii_only()) for row in rows]
    columns = columns_of(service.kind)
    print_table([(column.title, column.right) for column in columns],
                 [[column.text(cell) for column in columns] for cell in cells])  # fmt: skip


async def _usage(rows: list[WorkerRow], shared: bool) -> dict[int, Usage]:
    """CPU over a fifth of a second, and memory."""
    pids = {row.pid: row for row in rows if row.pid}
    seen: dict[int, object] = {}
    sample_usage(pids, seen)
    await asyncio.sleep(0.2)
    return sample_usage(pids, seen, shared)


@app.command
def queue(*, at: At = None, as_json: Json = False, last: Last = 200) -> int:
    """Show the queued requests, the next one first: how long each has waited, and will wait about."""

    async def talk(client: Client) -> int:
        data = await client.ask("status")
        if as_json:
            _print_json(data["queue"])
            return 0
        done = [RequestRow(**row) for row in await client.ask("requests", last=SAMPLE)]
        rows = [WaitingRow(**row) for row in data["queue"]]
        held = [WorkerRow(**row) for row in data["workers"]]
        limits = [LimitRow(**row) for row in data["limits"]]
        expected = outlook(rows, held, limits, data["totals"]["waiting"], took_by_endpoint(done), data["now"])
        _say("; ".join(text for text, _ in expected.summary(ascii_only())) or "The queue is empty.")
        if rows:
            titles = ("NO", "WAITED", "503 IN", "START IN", "REQUEST", "CLIENT")
            print_table([(title, title not in ("REQUEST", "CLIENT")) for title in titles],
                         [_queued_cells(row) for row in expected.rows[:last]])  # fmt: skip
        return 0

    return _run(at, talk)


SAMPLE = 500
"""Finished requests from which is estimated how long others take."""


def _queued_cells(row: Prospect) -> list[str]:
    return [str(row.row.number), format_age(row.waited), refused_text(row), start_text(row), row.row.request,
            client_text(row, ascii_only())]  # fmt: skip


@app.command
def requests(*, at: At = None, as_json: Json = False, last: Last = 30) -> int:
    """Show the latest requests, the newest last."""

    async def talk(client: Client) -> int:
        rows = await client.ask("requests", last=last)
        if as_json:
            _print_json(rows)
            return 0
        titles = ("TIME", "CLIENT", "WORKER", "STATUS", "QUEUE", "SERVICE", "SENT", "REQUEST", "NOTE")
        right = {"STATUS", "QUEUE", "SERVICE", "SENT", "WORKER"}
        print_table([(title, title in right) for title in titles], [_request_cells(row) for row in rows])
        return 0

    return _run(at, talk)


def _request_cells(row: dict[str, Any]) -> list[str]:
    note = "; ".join(text for text in (row["note"], gist(row["error"])) if text)
    return [
        clock(row["ended"]), row["client"], row["worker"] or "-", str(row["status"]), format_duration(row["waited"]),
        format_duration(row["service"]), format_size(row["sent"]), f"{row['method']} {row['target']}", note,
    ]  # fmt: skip


@app.command
def endpoints(*, at: At = None, as_json: Json = False, last: Last = 30) -> int:
    """What each endpoint takes: requests, service times, and its share of all lock time, over the last 15 minutes."""

    async def talk(client: Client) -> int:
        data = await client.ask("endpoints")
        if as_json:
            _print_json(data)
            return 0
        columns = endpoint_columns(ascii_only=ascii_only())
        rows = [EndpointRow(**row) for row in data["endpoints"][:last]]
        print_table([(column.title, column.right) for column in columns],
                     [[column.text(row) for column in columns] for row in rows])  # fmt: skip
        _say(counted_in(data["seconds"], data["uncounted"]))
        _say_all(limit_lines(data))
        return 0

    return _run(at, talk)


@app.command
def logs(
    worker: str | None = None,
    *,
    at: At = None,
    follow: Annotated[bool, Parameter(("--follow", "-f"), help="Go on with new lines.", negative=())] = False,
    as_json: Json = False,
    last: Last = 50,
) -> int:
    """Show what the workers wrote, and Faucet's messages; of one `worker` only, if it is named."""

    def show(row: LogRow) -> None:
        if worker in (None, row.worker):
            text = f"{clock(row.when)} {log_prefix(row)}{visible(row.text)}"
            print(to_json(row._asdict()) if as_json else text, flush=True)

    async def talk(client: Client) -> int:
        if worker:
            await client.ask("details", worker=worker)  # is there such a worker?
        if follow:
            await _follow(client, show, last)
        else:
            for row in await client.ask("logs", last=last, worker=worker):
                show(LogRow(**row))
        return 0

    return _run(at, talk, stays=follow)


async def _follow(client: Client, show: Callable[[LogRow], None], last: int) -> None:
    """Show the `last` lines, and then each that is written."""
    first = True

    def hear(message: Message) -> None:
        nonlocal first
        rows = [LogRow(*values) for values in message.get("log", ())]
        if rows and first:
            first, rows = False, rows[-last:]
        elif rows and message["skipped"]:
            show(LogRow(rows[0].when, "info", "", f"… {message['skipped']} lines are left out"))
        for row in rows:
            show(row)

    client.on_message = hear
    await client.ask("watch", hz=5)
    while not client.closed.done() and not _nobody_reads():
        await asyncio.wait([client.closed], timeout=1.0)


def _nobody_reads() -> bool:
    """Standard output is a pipe whose other end is closed."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)
    return bool(poller.poll(0))


@app.command
def health(*, at: At = None, as_json: Json = False) -> int:
    """Tell whether it can serve: exit code 0 if a worker is ready, or the next request starts one."""

    async def talk(client: Client) -> int:
        data = await client.ask("health")
        if as_json:
            _print_json(data)
        else:
            _say(f"{data['state']}: {data['ready']} of {data['workers']} workers ready, {data['waiting']} queued")
        return 0 if data["good"] else 1

    return _run(at, talk)


# -- acting -----------------------------------------------------------------------------------------------------


@app.command
def restart(worker: str, *, at: At = None) -> int:
    """Replace a worker, or `all` at once: the new process is ready before the old one ends. A pod is deleted."""
    return _ask(at, "restart", worker=worker)


@app.command(name="rolling-restart")
def rolling_restart(
    *, at: At = None, wait: Annotated[bool, Parameter(help="Wait until it is done; 1 if it was stopped.")] = True
) -> int:
    """Replace all workers, one after the other, each by one that is ready first. No request fails."""

    async def talk(client: Client) -> int:
        if not wait:
            _say(await client.ask("rolling-restart", who=_who()))
            return 0
        client.on_message = _show_notices()
        await client.ask("watch", hz=5)
        _say(await client.ask("rolling-restart", who=_who(), wait=True, patience=None))
        return 0

    return _run(at, talk)


def _show_notices() -> Callable[[Message], None]:
    """Prints each notice of the service once."""
    shown = {""}
    wrong: set[str] = set()

    def hear(message: Message) -> None:
        sections = message.get("changes") or message.get("snapshot") or {}
        wrong.update(Notice(*values).text for values in sections.get("notices", ()))
        notice = Service(*sections["service"]).notice if "service" in sections else ""
        if notice not in shown and notice not in wrong:  # what is wrong from before is no news
            shown.add(notice)
            _say(notice, flush=True)

    return hear


def _is_count(kind: Any, value: str) -> None:
    """Raises ValueError."""
    number = value[1:] if value[:1] in ("+", "-") else value
    if not (number.isascii() and number.isdigit()):
        raise ValueError("a number of workers, or a change: +1, -1")


@app.command
def scale(count: Annotated[str, Parameter(allow_leading_hyphen=True, validator=_is_count)], *, at: At = None) -> int:
    """Set the number of workers, or change it by +1 or -1. Workers that end finish their requests."""
    wanted: int | str = count if count[:1] in ("+", "-") else int(count)
    return _ask(at, "scale", count=wanted)


@app.command
def hold(worker: str, *, at: At = None) -> int:
    """Give a worker no more requests, but keep its process, e.g. to attach a debugger."""
    return _ask(at, "hold", worker=worker)


@app.command
def resume(worker: str, *, at: At = None) -> int:
    """Give a held worker requests again."""
    return _ask(at, "resume", worker=worker)


@app.command
def drop(worker: str, *, at: At = None) -> int:
    """Cut the connection to a pod, e.g. one that does not answer. Its request is retried, or fails."""
    return _ask(at, "drop", worker=worker)


@app.command
def retry(worker: str, *, at: At = None) -> int:
    """Connect now to a pod that is unreachable, instead of after its back-off."""
    return _ask(at, "retry", worker=worker)


@app.command
def kill(worker: str, *, at: At = None) -> int:
    """End a worker now (SIGKILL), with its request. Another takes its place."""
    return _ask(at, "kill", worker=worker)


@app.command
def cancel(request: Annotated[int, Parameter(converter=whole_number)], *, at: At = None) -> int:
    """End the waiting of a queued request, by its number in `faucet ctl queue`: its client gets 503."""
    return _ask(at, "cancel", request=request)


@app.command
def handover(*, at: At = None) -> int:
    """With --ha: have another Faucet become the active, without a failed request."""
    return _ask(at, "handover")


Now = Annotated[bool, Parameter("--now", help="Do not wait for requests in progress.", negative=())]


@app.command
def stop(*, at: At = None, now: Now = False) -> int:
    """End the service, and wait until it has ended."""

    async def talk(client: Client) -> int:
        _say(await client.ask("stop", who=_who(), now=now), flush=True)
        if not client.asks_active:
            await client.closed
        return 0

    return _run(at, talk)
