"""Local workers: N numbered places, each with a process in it, started again whenever it ends.

    STARTING ──accepts──▶ READY ──exits──▶ BACKOFF ──▶ STARTING …      at the end: DRAINING ▶ STOPPED

One task looks after one place and tells its story from top to bottom (`_live`). A process that is ready becomes a
Backend of the proxy; when it exits, the backend is removed before anything is started in its place, so that nobody can
take the new process for the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import socket
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any

from faucet import tasks
from faucet.net.connect import connect_tcp
from faucet.net.listeners import ports_of, who_listens
from faucet.proxy.backend import Backend
from faucet.proxy.core import Proxy
from faucet.settings import WorkerSettings
from faucet.units import format_duration
from faucet.workers.advice import advice
from faucet.workers.entry import Entry
from faucet.workers.keeper import Keeper
from faucet.workers.process import ChildProcess

_log = logging.getLogger("faucet")

HOST = "127.0.0.1"
"""Where workers listen. Nobody but Faucet should reach them."""

PROBE_INTERVAL = 0.05
"""Seconds between two attempts to connect to a starting worker. R takes 1.3 s, so this adds 2 % to that."""

PROBE_TIMEOUT = 1.0

FOREIGN_GRACE = 3.0
"""Seconds to see whether a worker whose port somebody else answers on gives up, before that somebody is taken
for its proxy (as with containers)."""

HINT_AFTER = 5.0
"""Seconds after which a worker that listens on another port only is told on, long before it is given up."""

STOP_GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL. Plumber takes up to 1.8 s."""

BACKOFF_FIRST, BACKOFF_LIMIT, BACKOFF_JITTER = 1.0, 15.0, 0.25
"""Seconds before the second restart in a row (the first is at once), doubled each time up to the limit, plus or
minus the share of jitter."""

HEALTHY_AFTER = 30.0
"""Seconds of service after which earlier failures are forgotten."""

FIRST_TRIES = 3
"""Failed starts in a row of one worker, with none ever ready, after which the service gives up."""


class State(Enum):
    """What a place is doing."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    DRAINING = "draining"
    STOPPED = "stopped"


class StartFailed(Exception):
    """No worker ever became ready. The text is for the user."""


class _WorkerLog(logging.LoggerAdapter[logging.Logger]):
    """Names the worker at the start of the text, for people, and apart, for programs."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        assert self.extra is not None
        return f"worker {self.extra['worker']}: {msg}", {**kwargs, "extra": self.extra}


class Worker:
    """One place for a process: number `number`, from 1."""

    def __init__(self, number: int, pool: LocalWorkers) -> None:
        self.number = number
        self.state = State.STARTING
        self.port = 0
        self.process: ChildProcess | None = None
        self.restarts = 0
        self._pool = pool
        self._log = _WorkerLog(_log, {"worker": str(number)})
        self.failures = 0  # in a row, without having been healthy between
        self._unreachable = asyncio.Event()
        self._stopping = False

    def __str__(self) -> str:
        return str(self.number)

    async def live(self) -> None:
        """Start, serve, start again, until stopped."""
        while not self._stopping:
            await self._one_life()
            if not self._stopping:
                self.restarts += 1
                await self._back_off()
        self.state = State.STOPPED

    def stop(self) -> None:
        """Send no more processes into this place. The one in it is ended by `end`."""
        self._stopping = True
        self.state = State.DRAINING

    async def end(self, grace: float) -> None:
        """End the process."""
        if self.process is not None:
            await self.process.stop(grace)

    # -- one process -------------------------------------------------------------------------------------------

    async def _one_life(self) -> None:
        pool = self._pool
        self.state = State.STARTING
        self.port = pool.choose_port(self.number)
        began = monotonic()
        try:
            process = await self._spawn()
        except OSError as error:
            self._failed(f"could not be started: {error}", [])
            return
        self.process = process
        try:
            if not self._stopping and await self._becomes_ready(process, monotonic() + pool.settings.startup_timeout):
                self._log.info("ready on port %d (pid %d) after %s", self.port, process.pid,
                          format_duration(monotonic() - began))  # fmt: skip
                await self._serve(process)
                self._judge_life(monotonic() - began)
        finally:
            await self._ended(process)

    async def _spawn(self) -> ChildProcess:
        entry, pool = self._pool.entry, self._pool
        argv, environment = entry.argv(self.port), entry.environment(self.port, self.number)
        return await ChildProcess.start(
            argv,
            entry.directory,
            environment,
            pool.keeper,
            lambda stream, line: pool.on_line(self.number, stream, line),
        )

    async def _serve(self, process: ChildProcess) -> None:
        """The process accepts: it is a backend until it exits."""
        proxy = self._pool.proxy
        backend = Backend(str(self.number), HOST, self.port, connect_tcp)
        backend.on_unreachable = lambda error: self._unreachable.set()
        backend.on_hung = self._kill_hung
        self.state = State.READY
        self._pool.became_ready()
        proxy.add(backend)
        try:
            while not process.exited.done():
                self._unreachable.clear()
                await _first(process.exited, self._unreachable.wait())
                if self._unreachable.is_set() and not await self._recovers(process, backend):
                    break
        finally:
            proxy.remove(backend)
            backend.close(whatever=self._stopping)

    async def _recovers(self, process: ChildProcess, backend: Backend) -> bool:
        """It lives but accepts no connection. It may be about to exit, or busy with something of its own."""
        self.state = State.STARTING
        if not await self._accepts(process, monotonic() + self._pool.settings.startup_timeout):
            if not process.exited.done():
                self._log.warning("lives, but accepts no connections any more; it is replaced")
            return False
        self.state = State.READY
        self._pool.proxy.resume(backend)
        return True

    def _kill_hung(self) -> None:
        self._log.warning("did not answer in time; it is killed and replaced")
        if self.process is not None:
            self.process.kill()

    async def _ended(self, process: ChildProcess) -> None:
        """Make sure that it is gone, and that we have heard all it said."""
        if not process.exited.done():
            await process.stop(STOP_GRACE)
        await process.output_ended()
        self.process = None

    def _judge_life(self, seconds: float) -> None:
        process = self.process
        assert process is not None
        if seconds >= HEALTHY_AFTER:
            self.failures = 0
        self.failures += 1
        if not self._stopping and process.exited.done():
            self._log.warning("%s after %s", exit_text(process.exited.result()), format_duration(seconds))

    # -- becoming ready ----------------------------------------------------------------------------------------

    async def _becomes_ready(self, process: ChildProcess, deadline: float) -> bool:
        """Whether it listens in time. If not, says why."""
        accepts = await self._accepts(process, min(deadline, monotonic() + HINT_AFTER))
        if not accepts and monotonic() < deadline:
            if ports_of(process.pid):
                self._log.warning("%s", self.why_not_listening())
            accepts = await self._accepts(process, deadline)
        if not accepts:
            await self._explain_failed_start(process)
            return False
        ports = ports_of(process.pid)
        if ports is None or self.port in ports:
            return True
        return await self._shares_port(process)

    async def _accepts(self, process: ChildProcess, deadline: float) -> bool:
        """Whether its port accepts a connection before `deadline`, and before the process exits."""
        while not (process.exited.done() or self._stopping) and monotonic() < deadline:
            with contextlib.suppress(OSError, TimeoutError):
                transport, _ = await connect_tcp(asyncio.Protocol, HOST, self.port, PROBE_TIMEOUT)
                transport.abort()  # type: ignore[attr-defined]
                return not process.exited.done()
            await asyncio.wait([process.exited], timeout=PROBE_INTERVAL)
        return False

    async def _shares_port(self, process: ChildProcess) -> bool:
        """Somebody else answers on the port. If they took it first, our process gives up about now."""
        owner = who_listens(self.port) or "another process"
        _, pending = await asyncio.wait([process.exited], timeout=FOREIGN_GRACE)
        if pending:
            self._log.warning("%s answers on port %d for it", owner, self.port)
            return True
        self._port_taken(owner)
        return False

    def _port_taken(self, owner: str) -> None:
        self._log.info("port %d was taken by %s; trying another", self.port, owner)
        self._pool.ports_taken.add(self.port)

    async def _explain_failed_start(self, process: ChildProcess) -> None:
        if self._stopping:
            return
        if process.exited.done():
            await process.output_ended()
            if not _is_free(self.port):
                self._port_taken(who_listens(self.port) or "another process")
                return
            reason = f"{exit_text(process.exited.result())} before it listened on port {self.port}"
        else:
            reason = self.why_not_listening()
        self._failed(reason, list(process.last_lines))

    def listens_elsewhere(self) -> bool:
        """Its process listens, but not on the port it was told."""
        ports = ports_of(self.process.pid) if self.process is not None else None
        return bool(ports) and self.port not in (ports or ())

    def why_not_listening(self) -> str:
        """What its living process does instead of listening on its port."""
        others = sorted(ports_of(self.process.pid) or ()) if self.process is not None else []
        if others:
            where = ", ".join(map(str, others))
            return (
                f"listens on port {where}, not on {self.port}: an API served by Faucet has to listen on the port in "
                'FAUCET_PORT, in R: port = as.integer(Sys.getenv("FAUCET_PORT"))'
            )
        waited = format_duration(self._pool.settings.startup_timeout)
        return f"did not listen on port {self.port} (its FAUCET_PORT) within {waited}; --startup-timeout gives it more"

    def _failed(self, reason: str, last_lines: list[str]) -> None:
        """A start that did not succeed."""
        self.failures += 1
        self._log.warning("%s", reason)
        hint = advice(last_lines, self._pool.entry)
        self._pool.start_failed(self, reason, last_lines, hint)

    async def _back_off(self) -> None:
        """At once the first time, then longer and longer."""
        if self.failures <= 1:
            return
        delay = min(BACKOFF_FIRST * 2 ** (self.failures - 2), BACKOFF_LIMIT)
        delay *= random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)
        self.state = State.BACKOFF
        self._log.info("restart in %s", format_duration(delay))
        await self._pool.wait_for_stop(delay)


class LocalWorkers:
    """All places. `on_line(worker, stream, line)` gets each line of output."""

    def __init__(
        self, count: int, entry: Entry, settings: WorkerSettings, proxy: Proxy, on_line: Callable[[int, str, str], None]
    ) -> None:
        self.entry = entry
        self.settings = settings
        self.proxy = proxy
        self.on_line = on_line
        self.keeper = Keeper()
        self.ports_taken: set[int] = set()
        self.workers = [Worker(number, self) for number in range(1, count + 1)]
        loop = asyncio.get_running_loop()
        self.first_ready: asyncio.Future[None] = loop.create_future()
        """Done when a worker is ready for the first time; StartFailed if that will never be."""
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all workers, side by side."""
        self._tasks = [tasks.start(worker.live(), f"worker {worker}") for worker in self.workers]

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """End all workers; SIGKILL after `grace` seconds. Nothing of them is left afterwards."""
        self._stopping.set()
        for worker in self.workers:
            worker.stop()
        await asyncio.gather(*(worker.end(grace) for worker in self.workers))
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.keeper.close()

    async def wait_for_stop(self, seconds: float) -> None:
        """Sleep for `seconds`, or until `stop`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def choose_port(self, number: int) -> int:
        """The port for worker `number`: its own if ports were asked for, and they are to be had; else a free one."""
        if self.settings.child_port:
            wanted = self.settings.child_port + number - 1
            if wanted <= 65535 and wanted not in self.ports_taken and _is_free(wanted):
                return wanted
            _log.warning("worker %d: port %d is not free, taking another", number, wanted)
        used = {worker.port for worker in self.workers if worker.number != number}
        while (port := _free_port()) in used:
            pass
        return port

    def became_ready(self) -> None:
        """A worker is ready."""
        if not self.first_ready.done():
            self.first_ready.set_result(None)

    def start_failed(self, worker: Worker, reason: str, last_lines: list[str], hint: str) -> None:
        """A start failed; the last chance if none ever succeeded."""
        if self.first_ready.done() or worker.failures < FIRST_TRIES:
            return
        elsewhere = next((other for other in self.workers if other is not worker and other.listens_elsewhere()), None)
        if elsewhere is not None:
            # Workers that fight for one port of their own: the one that has it tells more than the one that ended.
            self.first_ready.set_exception(StartFailed(f"worker {elsewhere} {elsewhere.why_not_listening()}"))
            return
        if any(other.failures < FIRST_TRIES for other in self.workers):
            return
        said = "".join(f"\n  | {line}" for line in last_lines)
        text = f"no worker could be started, in {worker.failures} tries: worker {worker} {reason}"
        text += f"\nIts last words:{said}" if said else "\nIt wrote nothing."
        self.first_ready.set_exception(StartFailed(f"{text}\n{hint}" if hint else text))


def exit_text(code: int) -> str:
    """`exited with code 1`, `was ended by SIGKILL`."""
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


async def _first(future: asyncio.Future[int], *others: object) -> None:
    """Wait for the first of them."""
    waits = [asyncio.ensure_future(other) for other in others]  # type: ignore[call-overload]
    try:
        await asyncio.wait([future, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port
