"""Create the parts of a service, start them in order, and stop them in reverse order.

The address is bound first, so that an address in use is reported before anything is started. Then the workers are
started, and the first ready worker opens the address. The shutdown stops accepting connections, finishes requests in
flight, stops the workers, and writes the log. The same shutdown runs after every error.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from faucet import pauses
from faucet.control.black_box import BlackBox
from faucet.control.paths import socket_path
from faucet.control.server import ControlError, ControlServer
from faucet.fleet import StartFailed
from faucet.log.handler import Log
from faucet.log.redact import redactor
from faucet.net.address import Address, AddressError, UnixAddress
from faucet.net.descriptors import Descriptors, is_shortage
from faucet.net.listener import Entrance, Listener, Listeners
from faucet.net.server_certificate import CertificateError
from faucet.otel.telemetry import Telemetry, destination
from faucet.proxy.server import Proxy
from faucet.proxy.stats import Record
from faucet.service.certificate import certificate_of
from faucet.service.signals import Signals
from faucet.service.site import Site
from faucet.service.supervised import Supervised
from faucet.service.systemd import SystemdError, inherited_sockets
from faucet.settings import ServeSettings
from faucet.status.collect import Runtime, now
from faucet.text import print_error
from faucet.units import counted, format_duration, format_size
from faucet.workers import orphans
from faucet.workers.shortages import remedy, shortage
from faucet.workers.spawn import raise_file_limit

_log = logging.getLogger("faucet")

EXIT_OK = 0
"""Exit code: ended by a signal, and all requests in flight were finished."""

EXIT_FAILED = 1
"""Exit code: the service could not be started."""

EXIT_CUT = 3
"""Exit code: ended by a signal, but a second signal or the shutdown timeout cut requests in flight."""

TURNS_TO_CLOSE = 3
"""Turns of the event loop after which aborted transports have called `connection_lost` of their protocols."""


Hints = Callable[[Address | UnixAddress], str]
"""Returns the hints to show when the service listens on an address."""


def run(
    site: Site, settings: ServeSettings, owner: int | None = None, notice: str = "", hints: Hints | None = None
) -> int:
    """Serve `site` until a signal. Return the exit code.

    `owner` is the descriptor of a socket to the monitor that started this process: the service stops with the monitor.
    The `notice` is logged first. The `hints` are shown when the service is ready, in the monitor's log or on standard
    output.
    """
    try:
        log = Log(settings, quiet=owner is not None)
    except OSError as error:
        print_error(f"cannot write the log to {settings.log_file}: {error.strerror}; name another file with --log-file")
        return EXIT_FAILED
    try:
        return _run(_serve(site, settings, log, owner, notice, hints))
    except (AddressError, CertificateError, ControlError, StartFailed, SystemdError) as error:
        log.failure(str(error))
        return EXIT_FAILED
    except OSError as error:
        resource = shortage(error)
        if not resource:
            raise
        log.failure(f"{error.strerror}: {remedy(resource)}")
        return EXIT_FAILED
    finally:
        log.close()


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop if it is installed. The behaviour is the same without uvloop."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def _serve(
    site: Site, settings: ServeSettings, log: Log, owner: int | None, notice: str, hints: Hints | None
) -> int:
    raise_file_limit()
    relax_garbage_collector()
    settings = dataclasses.replace(settings, otel_endpoint=destination(settings.otel_endpoint, os.environ))
    orphans.become_subreaper()
    reaper = orphans.OrphanReaper()
    reaper.start()
    service = _Service(site, settings, log)
    asyncio.get_running_loop().set_exception_handler(partial(_unhandled, service.proxy.pool.descriptors))
    try:
        end = await service.run(owner, notice, hints)
    except BaseException:
        service.close()
        raise
    finally:
        await service.tear_down()
        reaper.stop()
    log.announce(end.words, logging.WARNING if end.code else logging.INFO)
    service.close()
    await _let_transports_close()
    return end.code


class _End(NamedTuple):
    """How the service ended."""

    code: int
    words: str


class _Service:
    """All parts of one service."""

    def __init__(self, site: Site, settings: ServeSettings, log: Log) -> None:
        """Create the parts and bind the address. Raises AddressError or CertificateError."""
        self._site = site
        self._settings = settings
        self._log = log
        self._companions = contextlib.AsyncExitStack()
        self.black_box: BlackBox | None = None
        self.certificate = certificate_of(settings)
        scheme = "http" if self.certificate is None else "https"
        self.listener = Listeners(settings.host, inherited_sockets(os.environ), scheme)
        self.admin = Listener(settings.admin, option="--admin") if settings.admin else None
        self._telemetry = None if settings.otel_endpoint is None else Telemetry(settings.otel_endpoint)
        self.proxy = Proxy(settings, log.request if self._telemetry is None else partial(_record, log, self._telemetry))
        self.workers = site.fleet(self.proxy, log)
        self.signals = Signals(reopen=log.reopen, roll=self._roll)
        self.control = ControlServer(
            Runtime(
                proxy=self.proxy,
                fleet=self.workers,
                recent_log=log.recent_log,
                title=site.title,
                detail=site.detail,
                mode=site.mode,
                url=self.listener.address.url,
                port=self.listener.address.port,
                stop=self.signals.ask,
                started=now(),
            )
        )

        if self.certificate is not None:
            self.control.runtime.certificate = self.certificate.state
        site.introduce(self.workers, self.control)
        self.supervised = Supervised(self.control.runtime)

    def _roll(self, why: str) -> None:
        self.supervised.reloading()
        if self.certificate is not None:
            self.certificate.hurry()
        self.workers.reload(why)

    async def _open_admin(self) -> None:
        if self.admin is not None:
            from faucet.admin.server import Admin, AdminConnection

            admin = Admin(self.control.runtime, self._settings.admin_names, self._settings.endpoint_metrics)
            await self.admin.open(lambda: AdminConnection(admin))
            _log.info("admin pages are on %s", self.admin.address.described)

    async def run(self, owner: int | None, notice: str, hints: Hints | None) -> _End:
        """Serve until a request to end. Raises AddressError, ControlError or StartFailed."""
        await self._open_control(owner)
        self._open_black_box()
        for line in notice.splitlines():
            _log.info("%s", line)
        await self._open_admin()
        if self._telemetry is not None:
            await self._companions.enter_async_context(self._telemetry.running(self.proxy.pool))
        self.workers.start()
        await self._companions.enter_async_context(self._site.companion(self.workers))
        await self.signals.or_done(self.workers.first_ready)
        if self.signals.first.is_set():
            return _End(EXIT_OK, "stopped before it served anything")
        await self._listen()
        self.control.runtime.state = "serving"
        self.supervised.ready()
        where = f"{self._site.described} on {self.listener.described}"
        if self.workers.failing:
            self._log.announce(f"listening for {where}, but no worker can be started yet", logging.WARNING)
        else:
            self._log.announce(f"serving {where} with {self.workers.described()}")
        if hints is not None:
            _give_hints(hints(self.listener.address), owner)
        await self.signals.first.wait()
        return await self._finish()

    async def _listen(self) -> None:
        """Raises AddressError."""
        plain, tls = Entrance(self.proxy.accept, self.proxy.clients.has_room), None
        if self.certificate is not None:
            await self._companions.enter_async_context(self.certificate.watched())
            clients = self.proxy.serve_tls(self.certificate.context)
            tls = Entrance(clients.accept, clients.has_room)
        await self.listener.open(plain, tls, partial(self.proxy.pool.descriptors.note, "client"))

    async def _open_control(self, owner: int | None) -> None:
        wanted = self._settings.control
        if wanted is None:
            await self._open_usual_control()
        elif wanted != "none":
            await self.control.open(wanted)
        if owner is not None:
            await self.control.own(owner)
        self.control.runtime.collect()
        self.control.start_ticking()

    def _open_black_box(self) -> None:
        """Raises StartFailed."""
        path, size = self._settings.black_box, self._settings.black_box_size
        if path is None:
            return
        runtime = self.control.runtime
        runtime.black_box = f"{path.absolute()}, at most {format_size(size)}"
        try:
            self.black_box = BlackBox(runtime, path, size, redactor(self._settings.log_redact))
        except OSError as error:
            raise StartFailed(
                f"cannot write the black box to {path}: {error.strerror}; name another file with --black-box"
            ) from error

    def close(self) -> None:
        """Close the control socket and the black box, after their last updates."""
        self.control.close()
        if self.black_box is not None:
            self.black_box.close()
            self.black_box = None

    async def _open_usual_control(self) -> None:
        """Open the control socket at its usual path, or with the pid in its name if that path is taken (the same port
        in another network), or not at all if neither works."""
        usual = socket_path(self.listener.address.port)
        beside = usual.with_name(f"{usual.stem}-{os.getpid()}.sock")
        for path in (usual, beside):
            try:
                await self.control.open(path)
            except ControlError as error:
                problem = error
            else:
                return
        _log.warning("%s", problem)

    async def _finish(self) -> _End:
        """Finish requests in flight, unless a second signal comes."""
        proxy, signals = self.proxy, self.signals
        self.supervised.stopping()
        self.workers.prepare_to_end()
        await asyncio.sleep(0)  # health checks release their locks
        in_hand = proxy.pool.dispatcher.locked
        patience = self._settings.shutdown_timeout
        if in_hand:
            _log.info("%s: stopping; %s in flight may take %s more; a second signal ends them now",
                      signals.name, counted(in_hand, "request"), format_duration(patience))  # fmt: skip
        else:
            _log.info("%s: stopping", signals.name)
        draining = asyncio.ensure_future(self._drain(patience))
        await signals.or_done(draining, second=True)
        finished = draining.done() and draining.result()
        draining.cancel()
        cut = 0 if finished else proxy.abandon("The service ended before the worker had answered.")
        cut += proxy.clients.cut_while_draining
        if not cut:
            what = "every request in flight was finished" if finished else "no client was waiting for those in flight"
            return _End(EXIT_OK, f"stopped; {what}")
        return _End(EXIT_CUT, f"stopped; {counted(cut, 'request in flight was', 'requests in flight were')} cut")

    async def _drain(self, seconds: float) -> bool:
        """Stop accepting connections, and finish requests in progress. Return whether `seconds` were enough."""
        began = monotonic()
        try:
            async with pauses.timeout(seconds):
                others_go_on = await self.workers.leave(seconds)
                await self.listener.close()
        except TimeoutError:
            return False
        return await self.proxy.drain(max(pauses.left(seconds, began), 0), others_go_on)

    async def tear_down(self) -> None:
        """Stop everything except the control socket, which reports the shutdown. No worker is left afterwards."""
        self.supervised.close()
        await self._companions.aclose()
        await self.listener.close()
        if self.admin is not None:
            await self.admin.close()
        self.proxy.close()
        await self.workers.stop()
        self.signals.close()
        await _let_transports_close()


def _record(log: Log, telemetry: Telemetry, record: Record) -> None:
    log.request(record)
    telemetry.record(record)


def _give_hints(text: str, owner: int | None) -> None:
    if owner is None:
        with contextlib.suppress(OSError):  # nobody reads it
            print(text, flush=True)
        return
    for line in text.splitlines():
        if line:
            _log.info("%s", line)


async def _let_transports_close() -> None:
    for _ in range(TURNS_TO_CLOSE):
        await asyncio.sleep(0)


def _unhandled(descriptors: Descriptors, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that asyncio reports. Log a failure to accept connections at a limited rate."""
    if is_shortage(context.get("exception")):
        descriptors.note("client")
    else:
        loop.default_exception_handler(context)


def relax_garbage_collector() -> None:
    """Run the garbage collector less often. Exchanges create no reference cycles, so a run only delays requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
