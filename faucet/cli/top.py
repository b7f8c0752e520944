"""`faucet top`: all running services, here and on the machines that --via-ssh names, in one list."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from faucet.cli.exit_codes import EXIT_FAILED
from faucet.cli.tables import print_table
from faucet.control.find import Place
from faucet.control.hosts import Found, Host, look_at
from faucet.control.neighbours import others
from faucet.settings import TopSettings
from faucet.text import print_error, to_json, visible

Once = Annotated[bool, Parameter("--once", help="Print the list once, and exit.", negative=())]
Json = Annotated[bool, Parameter(("--json", "-j"), help="JSON for programs.", negative=())]


def top(settings: TopSettings, *, once: Once = False, as_json: Json = False) -> int:
    """List all running Faucets, here and on each --via-ssh host. Enter opens the monitor of one.

    Without a terminal, and with --once, the list is printed.
    """
    from faucet.cli.ssh_login import places_of
    from faucet.fleet import StartFailed
    from faucet.tui.terminal import no_monitor_because

    try:
        places = places_of(settings)
    except StartFailed as error:
        print_error(str(error))
        return EXIT_FAILED
    if once or as_json or no_monitor_because():
        return _print_once(places, as_json)
    return _watch(places, settings)


def _print_once(places: list[Place], as_json: bool) -> int:
    found = asyncio.run(_look(places))
    if as_json:
        print(to_json([_as_json(each) for each in found], indent=2))
    elif found:
        from faucet.tui.hosts_columns import SUMMARIES, cells_of, remark_of, titles_of

        answered = [each for each in found if each.summary is not None]
        if answered:
            titles = [*titles_of(SUMMARIES), ("", False)]
            print_table(titles, [[*cells_of(each, SUMMARIES), remark_of(each)] for each in answered])
        for each in found:
            if each.summary is None:
                print(f"{visible(each.host)}: {remark_of(each)}")
    else:
        print(f"No Faucet is running here. Start one with `faucet`.{asyncio.run(others(()))}")
    return 0 if any(each.summary for each in found) else EXIT_FAILED


async def _look(places: list[Place]) -> list[Found]:
    hosts = [Host(place) for place in places]
    try:
        return await look_at(hosts)
    finally:
        for host in hosts:
            await host.close()


def _as_json(found: Found) -> dict[str, Any]:
    known: dict[str, Any] = {"host": found.host, "socket": found.path and str(found.path)}
    if found.summary is None:
        return {**known, "problem": found.problem}
    service, totals, now = found.summary
    return {**known, "service": service._asdict(), "totals": totals._asdict(), "now": now}


def _watch(places: list[Place], settings: TopSettings) -> int:
    """Show the list until the user leaves it, and the monitor of each service that is chosen meanwhile."""
    from faucet.tui.hosts_app import HostsApp
    from faucet.tui.start import attach, run_on_terminal
    from faucet.tui.table_columns import Order

    order = Order("host")
    while True:
        app = HostsApp([Host(place) for place in places], order)
        chosen = run_on_terminal(app.run, app.terminal_is_gone)
        if chosen is None:
            return 0
        order = app.order
        attach(chosen.path, settings, settings.read_only, chosen.place)
