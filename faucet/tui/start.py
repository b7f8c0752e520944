"""Start the monitor: attached to a running service, or with its own runtime as a child process.

A socket pair connects the two processes. If the monitor's end closes without a `detach` (a crash, a closed terminal,
SIGKILL), the runtime drains and ends. The runtime runs in its own session, so it gets no signals from the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from faucet.control.client import Client, Greeting, NoRuntime
from faucet.control.find import Place, find, find_active
from faucet.control.protocol import MESSAGE_LIMIT, Message
from faucet.control.recording import RecordFile, RecordingError, load, moment_of
from faucet.settings import MonitorSettings, Which
from faucet.ssh.secrets import VARIABLE as SECRETS_VARIABLE
from faucet.ssh.secrets import Secrets
from faucet.text import print_error
from faucet.tui import memory
from faucet.tui.owner import OWNER_VARIABLE
from faucet.tui.terminal import (
    EXIT_GONE,
    draw_on_a_terminal,
    follow_its_size,
    in_browser,
    no_monitor_because,
    watch_terminal,
)
from faucet.workers import orphans

if TYPE_CHECKING:
    from faucet.tui.app import Monitor

T = TypeVar("T")

NICENESS = 10
"""Niceness of the monitor, so that the service has priority."""


def run_with_monitor(arguments: Sequence[str], settings: MonitorSettings, secrets: Secrets | None = None) -> int:
    """Start a runtime with the command line `arguments`, and run the monitor on it. Return the exit code."""
    reaper = orphans.OrphanReaper()
    if os.getpid() == 1:  # PID 1 must reap the orphans of the container; the runtime reaps those of its workers
        reaper.start()
    own, other = socket.socketpair()
    with _scratch_file() as errors:
        runtime = _start_runtime(arguments, other, errors, secrets)
        orphans.ours.add(runtime.pid)
        other.close()
        outcome = _watch(own, settings)
        return _after(runtime, outcome, errors)


def _scratch_file() -> IO[bytes]:
    """Return an unnamed temporary file, in memory if possible, since there may be no writable directory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("faucet-errors"), "w+b")
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("r+b")


def _start_runtime(
    arguments: Sequence[str], end: socket.socket, errors: IO[bytes], secrets: Secrets | None
) -> subprocess.Popen[bytes]:
    descriptors = [secrets.pipe()] if secrets is not None else []
    try:
        # -P: Python must not import a file of the user's directory as a module.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "faucet", *arguments],
            env={
                **os.environ,
                OWNER_VARIABLE: str(end.fileno()),
                **({SECRETS_VARIABLE: str(descriptors[0])} if descriptors else {}),
            },
            pass_fds=[end.fileno(), *descriptors],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class _Outcome(NamedTuple):
    """How the monitor ended."""

    how: str
    greeting: Greeting | None
    """The greeting of the runtime; None if the runtime never answered."""
    last_event: str
    """The runtime's last event, if it reports the end of the runtime."""


def _watch(own: socket.socket, settings: MonitorSettings) -> _Outcome:
    """Run the monitor."""
    from faucet.tui.app import Monitor
    from faucet.tui.leaving import LOST

    greetings: list[Greeting] = []

    async def connect() -> Client:
        streams = await asyncio.open_unix_connection(sock=own, limit=MESSAGE_LIMIT)
        client = await Client.greet(*streams, patience=OWN_PATIENCE)
        greetings.append(client.greeting)
        return client

    app = Monitor(connect, settings, owner=True, layout=memory.load())
    how = _show(app) or LOST
    own.close()
    said = app.model.events[-1].text if app.model.events else ""
    return _Outcome(how, greetings[0] if greetings else None, said if said.startswith("stopped") else "")


def _show(app: Monitor) -> str | None:
    """Run the monitor until it ends, or its terminal is gone. Return how it ended."""
    try:
        return run_on_terminal(app.run, app.terminal_is_gone)
    finally:
        if app.left_with is not None and not in_browser():
            memory.save(app.left_with)


def run_on_terminal(run: Callable[[], T], terminal_is_gone: Callable[[], None]) -> T:
    """Call `run`, which draws on the terminal, and return its result. A thread calls `terminal_is_gone` to end it."""
    _lower_priority()
    if not in_browser():
        draw_on_a_terminal()
        follow_its_size()
    ended = watch_terminal(terminal_is_gone)
    try:
        return run()
    finally:
        ended.set()


def _lower_priority() -> None:
    """Lower the priority of this process, so that the service gets the CPU first."""
    with contextlib.suppress(OSError):
        os.nice(max(NICENESS - os.nice(0), 0))


OWN_PATIENCE = 30.0
"""Seconds for the child runtime to send its greeting. It may have to load its imports from a cold disk."""


def _after(runtime: subprocess.Popen[bytes], outcome: _Outcome, errors: IO[bytes]) -> int:
    """Print how the service ended, or that it keeps running, after the monitor has ended. Return the exit code."""
    from faucet.tui.leaving import GONE, LEFT

    greeting = outcome.greeting
    if outcome.how == GONE:
        return EXIT_GONE  # no user can read a message; the service finishes requests in progress by itself
    if outcome.how == LEFT and greeting is not None:
        print(f"faucet keeps serving {greeting.title} on {greeting.url} (pid {runtime.pid}).")
        print(f"Monitor: faucet attach {greeting.port}   Stop: faucet ctl stop --at {greeting.port}")
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
        print_error(f"the service was killed by signal {-code}")
    else:
        print_error(outcome.last_event or "stopped")
    return code if code >= 0 else 1


def attach(
    which: Which | None, settings: MonitorSettings, read_only: bool, place: Place, record: Path | None = None,
    active: bool = False,
) -> int:  # fmt: skip
    """Run the monitor on a running service, or on the `active` of its group, and record its messages if requested.

    Return the exit code."""
    problem = "" if in_browser() else no_monitor_because()
    if problem:
        print_error(f"the monitor cannot run here: {problem}; use `faucet ctl status` instead")
        return 1
    from faucet.tui.app import Monitor
    from faucet.tui.leaving import GONE, LOST

    async def connect() -> Client:
        return await (find_active if active else find)(which, place)

    try:
        asyncio.run(try_to_connect(which, place, active))
    except NoRuntime as error:
        print_error(str(error))
        return 1
    monitor = Monitor(connect, settings, owner=False, read_only=read_only, layout=memory.load())
    with contextlib.ExitStack() as stack:
        if record is not None:
            try:
                file = stack.enter_context(contextlib.closing(RecordFile(record)))
            except OSError as error:
                print_error(f"cannot record to {record}: {error.strerror}; name a new file with --record")
                return 1
            monitor.feed.on_message = partial(_record, monitor, file)
        outcome = _show(monitor)
    return EXIT_GONE if outcome == GONE else 1 if outcome == LOST else 0


def _record(monitor: Monitor, file: RecordFile, message: Message) -> None:
    """Record a message. After the first write error, stop recording."""
    try:
        file.take(message)
    except OSError as error:
        monitor.feed.on_message = lambda message: None
        monitor.notify(f"recording has ended: {error.strerror}", severity="error", markup=False, timeout=10)


def replay(path: Path, settings: MonitorSettings, begin: str | None) -> int:
    """Run the monitor on a recording, starting at the time of day `begin`. Return the exit code."""
    problem = no_monitor_because()
    if problem:
        print_error(f"the monitor cannot run here: {problem}")
        return 1
    try:
        recording = load(path)
        start = moment_of(begin, recording) if begin is not None else recording.start
    except (RecordingError, OSError) as error:
        print_error(str(error) if isinstance(error, RecordingError) else f"cannot read {path}: {error.strerror}")
        return 1
    from faucet.tui.app import Monitor
    from faucet.tui.leaving import GONE

    monitor = Monitor(None, settings, owner=False, read_only=True, recording=recording, start=start)
    return EXIT_GONE if _show(monitor) == GONE else 0


async def try_to_connect(which: Which | None, place: Place, active: bool = False) -> None:
    """Connect once before the screen is taken over. Raises NoRuntime."""
    try:
        client = await (find_active if active else find)(which, place)
        await client.close()
    finally:
        await place.close()
