"""`faucet attach` and `replay`: the monitor of a running service, in this terminal, drawn once, or in browsers; or of a
recording."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shlex
import socket
import sys

from faucet.cli.exit_codes import EXIT_FAILED, EXIT_USAGE
from faucet.control.client import Client, NoRuntime
from faucet.control.find import Place, find, find_active
from faucet.machine import WEB, install_command
from faucet.settings import AttachSettings, ReplaySettings
from faucet.text import print_error

SHORTEST_TOKEN = 16
"""Characters of --web-token at least: it is guessed over the network."""


def attach(settings: AttachSettings) -> int:
    """Open the monitor for a Faucet that is running."""
    from faucet.cli.ssh_login import place_of
    from faucet.fleet import StartFailed
    from faucet.tui.start import attach as attach_monitor
    from faucet.tui.terminal import in_browser

    if settings.svg is not None and not settings.once:
        print_error("--svg needs --once")
        return EXIT_USAGE
    try:
        place = place_of(settings)
    except StartFailed as error:
        print_error(str(error))
        return EXIT_FAILED
    if settings.once:
        return _draw_once(settings, place)
    if settings.web is not None and not in_browser():
        return _serve_browsers(settings, place)
    read_only = settings.read_only or (settings.web is not None and not settings.web_write)
    return attach_monitor(settings.which, settings, read_only, place, settings.record, settings.active)


def _draw_once(settings: AttachSettings, place: Place) -> int:
    from faucet.tui.once import draw_once
    from faucet.tui.start import try_to_connect

    async def connect() -> Client:
        return await (find_active if settings.active else find)(settings.which, place)

    try:
        asyncio.run(try_to_connect(settings.which, place, settings.active))
        drawn = draw_once(connect, settings)
    except NoRuntime as error:
        print_error(str(error))
        return EXIT_FAILED
    if settings.svg is None:
        print(drawn, end="")
        return 0 if drawn else EXIT_FAILED
    try:
        settings.svg.write_text(drawn, encoding="utf-8")
    except OSError as error:
        print_error(f"cannot write {settings.svg}: {error.strerror or error}")
        return EXIT_FAILED
    return 0


def _serve_browsers(settings: AttachSettings, place: Place) -> int:
    """Serve the monitor to browsers until a signal. Each browser gets a process with the same command line."""
    if importlib.util.find_spec("textual_serve") is None:
        print_error(f"--web needs the package textual-serve. Install it with: {install_command(WEB)}")
        return EXIT_FAILED
    from faucet.tui.start import try_to_connect
    from faucet.web.gate import Gate, is_loopback
    from faucet.web.server import MonitorServer, serve

    address = settings.web
    assert address is not None
    token = secrets.token_urlsafe(SHORTEST_TOKEN) if settings.web_token == "auto" else settings.web_token or ""
    if token and len(token) < SHORTEST_TOKEN:
        print_error(f"--web-token needs at least {SHORTEST_TOKEN} characters; `auto` makes one")
        return EXIT_USAGE
    if not token and not is_loopback(address.host):
        print_error(f"other machines can reach {address}: add --web-token auto, or listen on 127.0.0.1")
        return EXIT_USAGE
    try:
        asyncio.run(try_to_connect(settings.which, place, settings.active))
    except NoRuntime as error:
        print_error(str(error))
        return EXIT_FAILED
    os.environ.pop("FAUCET_WEB_TOKEN", None)  # its monitors need not know
    command = "exec " + shlex.join([sys.executable, "-P", "-m", "faucet", *sys.argv[1:]])
    server = MonitorServer(command, address, "faucet", Gate(token))
    query = f"?token={token}" if settings.web_token == "auto" else ""
    rights = "its keys act on the service" if settings.web_write else "read only"

    def ready(port: int) -> None:
        where = f"[{address.host}]" if ":" in address.host else address.host or socket.gethostname()
        print(f"The monitor is at http://{where}:{port}/{query} ({rights}). Ctrl-C ends it.", flush=True)

    try:
        asyncio.run(serve(server, ready))
    except OSError as error:
        print_error(f"cannot listen on {address}: {error.strerror or error}")
        return EXIT_FAILED
    return 0


def replay(settings: ReplaySettings) -> int:
    """Show a recording in the monitor: of `attach --record`, or what `--black-box` has kept."""
    from faucet.tui.start import replay as replay_recording

    if settings.file is None:
        print_error("which recording? For example: faucet replay incident.jsonl")
        return EXIT_USAGE
    return replay_recording(settings.file, settings, settings.begin)
