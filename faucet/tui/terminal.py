"""The terminal under the monitor: whether it is there, and what happens when it goes.

A terminal may go without a signal: SIGHUP is ignored (nohup), or it reaches the shell only. Then every read returns at
once with nothing, Textual's input thread reads again and again, its output thread dies of EIO, and whoever waits for
that waits for ever. So a thread of our own waits for the hang-up, asks the monitor to end, and if that is stuck ends
the process. It costs nothing while it waits.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
from collections.abc import Callable

LOOK_SECONDS = 1.0
"""Between two looks, where the system does not tell of a hang-up."""

END_SECONDS = 2.0
"""For an orderly end; then a disorderly one."""

EXIT_GONE = 129
"""As a shell says of a program that SIGHUP has ended."""


def draw_on_a_terminal() -> None:
    """Textual draws on standard error. Where that is a file, and standard output is none, draw there."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc]


def watch_terminal(ask_to_end: Callable[[], None]) -> threading.Event:
    """Call `ask_to_end` from a thread when the terminal is gone. If the event is not set soon after that, exit."""
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
    """Whether the terminal that was standard input is gone; waits so long for that to happen."""
    poller = select.poll()
    poller.register(0, 0)
    if any(state & (select.POLLHUP | select.POLLERR) for _, state in poller.poll(seconds * 1000)):
        return True
    try:
        termios.tcgetattr(0)
    except termios.error:
        return True
    return False


def silence_dead_output() -> None:
    """What Textual's thread says when it cannot write any more would be a traceback on whatever is standard error."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        dead = arguments.thread is not None and arguments.thread.name == "textual-output"
        if not (dead and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = hook
