"""Puts the parts together, starts them in order, and ends them in the opposite one.

The address is bound first, so that it is known to be free before anything is started; the workers are started; the
first that is ready opens the address. At the end: no new connections, what is in hand is finished, the workers end,
the log is written. Whatever happens in between, the same end is reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from faucet.log import Log, print_error
from faucet.net.address import AddressError, parse_address
from faucet.net.listener import Listener
from faucet.proxy.client import ClientConnection
from faucet.proxy.core import Proxy
from faucet.settings import DemoSettings
from faucet.units import format_duration
from faucet.workers.cpus import available_cpus
from faucet.workers.entry import Entry
from faucet.workers.local import LocalWorkers, StartFailed

_log = logging.getLogger("faucet")

EXIT_OK = 0
"""Ended by a signal, with everything in hand finished."""

EXIT_FAILED = 1
"""The service could not be started."""

EXIT_CUT = 3
"""Ended by a signal, but requests in hand were cut: by a second signal, or by the shutdown timeout."""


def run_local(entry: Entry, settings: DemoSettings) -> int:
    """Serve `entry` until a signal. Returns the exit code."""
    try:
        log = Log(settings.log_level, settings.log_format, settings.log_file)
    except OSError as error:
        print_error(f"cannot write the log to {settings.log_file}: {error.strerror}")
        return EXIT_FAILED
    try:
        return _run(_Runtime(entry, settings, log).serve())
    except (AddressError, StartFailed) as error:
        log.failure(str(error))
        return EXIT_FAILED
    finally:
        log.close()


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it exists. The behaviour is the same without it."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


TURNS_TO_CLOSE = 3
"""Turns of the loop in which transports that were aborted tell their protocols so."""


class _Runtime:
    """One service, from start to end."""

    def __init__(self, entry: Entry, settings: DemoSettings, log: Log) -> None:
        self._entry = entry
        self._settings = settings
        self._log = log

    async def serve(self) -> int:
        """Raises AddressError or StartFailed."""
        settings = self._settings
        raise_file_limit()
        relax_garbage_collector()
        listener = Listener(parse_address(settings.host))
        proxy = Proxy(settings, self._log.request)
        count = settings.workers or available_cpus()
        workers = LocalWorkers(count, self._entry, settings, proxy, self._log.output)
        signals = Signals()
        try:
            _log.info("starting %s", _count(count, "worker"))
            workers.start()
            await signals.or_done(workers.first_ready)
            if not signals.first.is_set():
                await listener.open(lambda: ClientConnection(proxy))
                self._log.announce(f"serving {self._entry.directory} ({self._entry.description}) on "
                                   f"{listener.address.described} with {_count(count, 'worker')}")  # fmt: skip
                await signals.first.wait()
                end = await self._finish(listener, proxy, signals)
            else:
                end = _End(EXIT_OK, "stopped before it served anything")
        finally:
            await listener.close()
            proxy.close()
            await workers.stop()
            signals.close()
            for _ in range(TURNS_TO_CLOSE):
                await asyncio.sleep(0)
        self._log.announce(end.words, logging.WARNING if end.code else logging.INFO)
        return end.code

    async def _finish(self, listener: Listener, proxy: Proxy, signals: Signals) -> _End:
        """Finish what is in hand, unless a second signal says not to."""
        in_hand = proxy.dispatcher.locked
        patience = self._settings.shutdown_timeout
        if in_hand:
            _log.info("%s: stopping; %s in hand may take %s more, a second signal ends it all now",
                      signals.name, _count(in_hand, "request"), format_duration(patience))  # fmt: skip
        else:
            _log.info("%s: stopping", signals.name)
        await listener.close()
        draining = asyncio.ensure_future(proxy.drain(patience))
        await signals.or_done(draining, second=True)
        if draining.done() and draining.result():
            return _End(EXIT_OK, "stopped; every request in hand was finished")
        draining.cancel()
        cut = proxy.abandon("The service ended before the worker had answered.")
        if not cut:
            return _End(EXIT_OK, "stopped; nobody was waiting for what was still in hand")
        return _End(EXIT_CUT, f"stopped; {_count(cut, 'request in hand was', 'requests in hand were')} cut")


class _End(NamedTuple):
    """How it ended."""

    code: int
    words: str


class Signals:
    """SIGTERM, SIGINT and SIGHUP as events: the first asks for an end, the second for an end now.

    SIGHUP comes when the terminal is closed. Under nohup it is ignored, and stays so.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.name = ""
        self._loop = asyncio.get_running_loop()
        self._numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._numbers.append(signal.SIGHUP)
        for number in self._numbers:
            self._loop.add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        (self.second if self.first.is_set() else self.first).set()
        self.name = number.name

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


def raise_file_limit() -> None:
    """Each client is a file descriptor: take as many as we may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def relax_garbage_collector() -> None:
    """An exchange leaves no cycles behind, so looking for some every 700 objects only makes a few requests wait."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
