"""Two processes: the runtime in a session of its own, and the monitor that started it and watches it.

A socket pair ties them. If this end of it closes without a `detach` before (a crash, a closed terminal, SIGKILL), the
runtime drains and ends. Nothing that happens to the terminal reaches the runtime by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO, NamedTuple

from faucet.control.client import Client, Greeting, NoRuntime
from faucet.control.find import Place, find
from faucet.control.protocol import MESSAGE_LIMIT
from faucet.log.handler import print_error
from faucet.settings import MonitorSettings
from faucet.ssh.secrets import VARIABLE as SECRETS_VARIABLE
from faucet.ssh.secrets import Secrets

OWNER_VARIABLE = "FAUCET_OWNER"
"""Tells a runtime the descriptor of its end of the socket pair."""

NICENESS = 10
"""The monitor leaves the CPU to whoever serves."""


def no_monitor_because() -> str:
    """Why there cannot be a monitor; empty if there can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "standard input or output is no terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "the terminal can show lines only (TERM=dumb)"
    return "the variable CI is set" if os.environ.get("CI") else ""


def run_with_monitor(arguments: Sequence[str], settings: MonitorSettings, secrets: Secrets | None = None) -> int:
    """Start the runtime for the command line `arguments`, and watch it. The exit code."""
    own, other = socket.socketpair()
    with tempfile.TemporaryFile() as errors:
        runtime = _start_runtime(arguments, other, errors, secrets)
        other.close()
        outcome = _watch(own, settings)
        return _after(runtime, outcome, errors)


def _start_runtime(
    arguments: Sequence[str], end: socket.socket, errors: IO[bytes], secrets: Secrets | None
) -> subprocess.Popen[bytes]:
    told = [secrets.pipe()] if secrets is not None else []
    try:
        # -P: a file in the user's directory must not be taken for a module.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "faucet", *arguments],
            env={
                **os.environ,
                OWNER_VARIABLE: str(end.fileno()),
                **({SECRETS_VARIABLE: str(told[0])} if told else {}),
            },
            pass_fds=[end.fileno(), *told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    finally:
        for descriptor in told:
            os.close(descriptor)


def owner_descriptor() -> int | None:
    """The descriptor that a monitor has left to this process, if one has."""
    text = os.environ.pop(OWNER_VARIABLE, "")
    return int(text) if text.isdecimal() else None


class _Outcome(NamedTuple):
    """How the monitor ended."""

    how: str
    greeting: Greeting | None
    """Of the runtime it watched, if that ever answered."""
    last_words: str
    """What the runtime said last."""


def _watch(own: socket.socket, settings: MonitorSettings) -> _Outcome:
    """Run the monitor."""
    from faucet.tui.app import LOST, Monitor

    greetings: list[Greeting] = []

    async def connect() -> Client:
        streams = await asyncio.open_unix_connection(sock=own, limit=MESSAGE_LIMIT)
        client = await Client.greet(*streams, patience=OWN_PATIENCE)
        greetings.append(client.greeting)
        return client

    _give_way()
    app = Monitor(connect, settings, owner=True)
    how = app.run() or LOST
    own.close()
    said = app.model.events[-1].text if app.model.events else ""
    return _Outcome(how, greetings[0] if greetings else None, said if said.startswith("stopped") else "")


def _give_way() -> None:
    """To whoever serves."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)


OWN_PATIENCE = 30.0
"""Seconds for a runtime of our own to greet: it may have to import much from a cold disk."""


def _after(runtime: subprocess.Popen[bytes], outcome: _Outcome, errors: IO[bytes]) -> int:
    """What is to be said when the picture is gone. The exit code."""
    from faucet.tui.app import LEFT

    greeting = outcome.greeting
    if outcome.how == LEFT and greeting is not None:
        print(f"faucet goes on serving {greeting.title} on {greeting.url} (pid {runtime.pid}).")
        print(f"Look: faucet attach {greeting.port}   end it: faucet ctl stop --at {greeting.port}")
        return 0
    try:
        code = runtime.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        print("faucet is stopping …", flush=True)
        code = runtime.wait()
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace").strip()
    if said:
        print(said, file=sys.stderr)
    elif code < 0:
        print_error(f"the service was ended by signal {-code}")
    else:
        print_error(outcome.last_words or "stopped")
    return code if code >= 0 else 1


def attach(which: str | None, settings: MonitorSettings, read_only: bool, place: Place) -> int:
    """Watch a runtime that is there already. The exit code."""
    problem = no_monitor_because()
    if problem:
        print_error(f"no monitor here: {problem}; `faucet ctl status` tells the same in lines")
        return 1
    from faucet.tui.app import LOST, Monitor

    async def connect() -> Client:
        return await find(which, place)

    try:
        asyncio.run(_try(which, place))
    except NoRuntime as error:
        print_error(str(error))
        return 1
    _give_way()
    outcome = Monitor(connect, settings, owner=False, read_only=read_only).run()
    return 1 if outcome == LOST else 0


async def _try(which: str | None, place: Place) -> None:
    """Say at once, and on the plain terminal, if there is nobody to watch."""
    try:
        client = await find(which, place)
        await client.close()
    finally:
        await place.close()
