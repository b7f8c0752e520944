"""Requests to end a service, by a signal or by a command."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any


class Signals:
    """SIGTERM and SIGINT as events: the first asks for an end, the second for an end now.

    SIGHUP is what a closed terminal sends: with one, it asks for an end, too. Without one it asks for a rolling
    restart, as it does of other services. Under nohup it is ignored, and stays so. SIGUSR1 reopens the log.
    """

    def __init__(self, reopen: Callable[[], None], roll: Callable[[str], None]) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.name = ""
        """Who or what asked, the latest."""
        self._roll = roll
        self._terminal = os.isatty(0) or os.isatty(2)  # asked now: one that has hung up is none any more
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
        """End the service, or end it `at_once`."""
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
        """Let signals do again what they do by default."""
        for number in self._numbers:
            self._loop.remove_signal_handler(number)
