"""Watch the monitor's terminal, and end the monitor after a hang-up.

A terminal may vanish without a signal: SIGHUP is ignored (nohup), or reaches only the shell. Then every read returns
immediately without data, Textual's input thread loops, its output thread ends with EIO, and joining that thread blocks
forever. So a separate thread waits for the hang-up and asks the monitor to end. If the monitor does not end in time,
the thread exits the process. The thread uses no CPU while it waits.
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
"""Seconds for the monitor to end. After them, the process exits."""

EXIT_GONE = 129
"""Exit code after a hang-up of the terminal: the code that shells report for a program killed by SIGHUP."""


def no_monitor_because() -> str:
    """Return why the monitor cannot run on this terminal; empty if it can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "standard input or output is not a terminal"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "the terminal cannot move the cursor (TERM=dumb)"
    return "the variable CI is set" if os.environ.get("CI") else ""


def in_browser() -> bool:
    """Return whether the monitor is shown in a browser: the `web` server has started it, and reads its output."""
    return os.environ.get("TEXTUAL_DRIVER", "").endswith(":WebDriver")


def draw_on_a_terminal() -> None:
    """Make Textual draw on standard output if standard error, its default, is not a terminal."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc]


def follow_its_size() -> None:
    """Make Textual ask the terminal for its size. Exported COLUMNS and LINES would take precedence and never change."""
    for variable in ("COLUMNS", "LINES"):
        os.environ.pop(variable, None)


def watch_terminal(ask_to_end: Callable[[], None]) -> threading.Event:
    """Call `ask_to_end` from a thread after a hang-up. Exit unless the returned event is set within END_SECONDS.

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
    """Wait up to `seconds` for a hang-up of the terminal on standard input. Return whether there was one."""
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
    """Suppress the traceback of Textual's output thread when it can no longer write to the terminal."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        dead = arguments.thread is not None and arguments.thread.name == "textual-output"
        if not (dead and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = hook
