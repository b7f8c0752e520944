"""Watches the monitor's terminal, and ends the monitor when it is gone.

A terminal may vanish without a signal: SIGHUP is ignored (nohup), or it reaches the shell only. Then every read returns
at once with nothing, Textual's input thread reads again and again, its output thread dies of EIO, and waiting for that
thread never ends. So a thread of our own waits for the hang-up, asks the monitor to end, and if that is stuck ends the
process. It costs nothing while it waits.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
from collections.abc import Callable

LOOK_SECONDS = 1.0
"""Seconds between two checks, on systems that do not report a hang-up."""

END_SECONDS = 2.0
"""Seconds for the monitor to end; then the process exits."""

EXIT_GONE = 129
"""Exit code when the terminal is gone: as a shell reports a program killed by SIGHUP."""


def in_browser() -> bool:
    """Whether this process is the monitor of a browser: `web` has started it, and reads what it draws."""
    return os.environ.get("TEXTUAL_DRIVER", "").endswith(":WebDriver")


def draw_on_a_terminal() -> None:
    """Make Textual draw on standard output if standard error, its default, is not a terminal."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc]


def follow_its_size() -> None:
    """Make Textual ask the terminal for its size. Exported COLUMNS and LINES would come first, and never change."""
    for variable in ("COLUMNS", "LINES"):
        os.environ.pop(variable, None)


def watch_terminal(ask_to_end: Callable[[], None]) -> threading.Event:
    """Call `ask_to_end` from a thread when the terminal is gone; exit unless the returned event is set soon after.

    In a browser, the terminal is a pipe from the server.
    """
    ended = threading.Event()
    silence_dead_output()
    threading.Thread(target=_watch, args=(ask_to_end, ended), name="faucet-terminal", daemon=True).start()
    return ended


def _watch(ask_to_end: Callable[[], None], ended: threading.Event) -> None:
    while not is_gone(LOOK_SECONDS):
        if ended.is_set():
            return
    ask_to_end()
    if not ended.wait(END_SECONDS):
        os._exit(EXIT_GONE)


def is_gone(seconds: float = 0.0) -> bool:
    """Whether the terminal on standard input is gone; waits up to `seconds` for that."""
    poller = select.poll()
    poller.register(0, 0)
    if any(state & (select.POLLHUP | select.POLLERR) for _, state in poller.poll(seconds * 1000)):
        return True
    if in_browser():
        return False
    try:
        termios.tcgetattr(0)
    except termios.error:
        return True
    return False


def silence_dead_output() -> None:
    """Suppress the traceback of Textual's output thread when it cannot write to the terminal any more."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        dead = arguments.thread is not None and arguments.thread.name == "textual-output"
        if not (dead and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = hook
