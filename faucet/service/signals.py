"""Requests to end a service, by a signal or by a command."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any


class Signals:
    """SIGTERM and SIGINT as events: the first requests a graceful shutdown, the second an immediate one.

    A closed terminal sends SIGHUP: if there is a terminal, SIGHUP also requests a shutdown. Without a terminal, SIGHUP
    requests a rolling restart, as for other services. Under nohup, SIGHUP stays ignored. SIGUSR1 reopens the log.
    """

    def __init__(self, reopen: Callable[[], None], roll: Callable[[str], None]) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.name = ""
        """The name of the latest requester: a signal or a client."""
        self._roll = roll
        self._terminal = os.isatty(0) or os.isatty(2)  # checked now: isatty is false after a hang-up
        self._loop = asyncio.get_running_loop()
        self._numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received, number)
        self._loop.add_signal_handler(signal.SIGUSR1, reopen)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._numbers.append(signal.SIGHUP)
            self._loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    def _received(self, number: signal.Signals) -> None:
        self.ask(number.name, at_once=self.first.is_set())

    def _hung_up(self) -> None:
        if self._terminal:
            self._received(signal.SIGHUP)
        else:
            self._roll("SIGHUP")

    def ask(self, who: str, at_once: bool) -> None:
        """Request a shutdown for `who`; with `at_once`, an immediate one."""
        self.name = who
        self.first.set()
        if at_once:
            self.second.set()

    async def or_done(self, future: asyncio.Future[Any], second: bool = False) -> None:
        """Wait for the first (or second) signal or for `future`. Raises what `future` raises."""
        waiting = asyncio.ensure_future((self.second if second else self.first).wait())
        try:
            await asyncio.wait([future, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if future.done() and not future.cancelled():
            future.result()

    def close(self) -> None:
        """Restore the default handling of the signals."""
        for number in self._numbers:
            self._loop.remove_signal_handler(number)
