"""One process in a worker's slot: from its start to its end, and never two requests at once in between.

    STARTING ──accepts──▶ READY ──retired──▶ DRAINING ──▶ OVER        any of them ──exits──▶ OVER

A process that is ready becomes a Backend of the proxy. When it exits, the backend is removed before anything else is
done, so that no other process on its port can be taken for it.
"""

from __future__ import annotations

import asyncio
import os
import random
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from faucet import tasks
from faucet.net.connect import connect_tcp
from faucet.proxy.record import serving
from faucet.proxy.stats import Record
from faucet.proxy.upstream import Backend
from faucet.units import format_duration
from faucet.workers.causes import Cause, Reason
from faucet.workers.context import Context, SlotLog
from faucet.workers.exits import OUT_OF_MEMORY, how_it_ended
from faucet.workers.flood import Flood
from faucet.workers.ports import HOST, is_free
from faucet.workers.process import ChildProcess
from faucet.workers.readiness import Readiness
from faucet.workers.repeats import StartOutput
from faucet.workers.shortages import shortage
from faucet.workers.stopping import Manner
from faucet.workers.template import TemplateError

if TYPE_CHECKING:
    from faucet.proxy.pool import PoolLease

STOP_GRACE = 5.0
"""Seconds from the first signal to SIGKILL; what comes in between is in `process.py`."""

JITTER = 0.1


class State(Enum):
    """What an instance is doing."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    OVER = "over"


class Instance:
    """One process of worker `number`. Call `start`; if that succeeds, `enter_service`."""

    def __init__(self, number: int, context: Context, log: SlotLog, before: StartOutput | None = None) -> None:
        """Leave out of the log what it writes as a failed start `before` it did."""
        self.number = number
        self.state = State.STARTING
        self.port = 0
        self.began = monotonic()
        self.ready_at = 0.0
        self.jitter = random.uniform(1 - JITTER, 1)
        """Share of the limits of its age and requests at which it is replaced: not all at the same time."""
        self.served_before = 0
        """Requests that its predecessors have served."""
        self.healthy = True
        """Its latest health checks have not failed too often."""
        self.process: ChildProcess | None = None
        self.readiness: Readiness | None = None
        self.backend: Backend | None = None
        self.failure = ""
        """Why it did not become ready; empty if that was no fault of its own."""
        self.shortage = ""
        """What was missing on this machine when it was to be started: see shortages.py."""
        self.served_last: Record | None = None
        """What it was at work on when it ended, if it was."""
        self.ending: Cause | None = None
        """Why it was ended, if it did not end by itself."""
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it was in service and nothing is left of it."""
        self.output = StartOutput(lambda text: log.info("%s", text), before)
        """What it writes while it starts."""
        self._held = False
        self._context = context
        self._log = log
        self._unreachable = asyncio.Event()
        self._stopping = False

    @property
    def in_service(self) -> bool:
        """It gets requests, or would."""
        return self.state is State.READY

    @property
    def host(self) -> str:
        """Where its process is reached: 127.0.0.1, or ::1 if it listens there only."""
        return HOST if self.readiness is None else self.readiness.host

    @property
    def alive(self) -> bool:
        """Whether there is a process, and it has not exited."""
        return self.process is not None and not self.process.exited.done()

    @property
    def lease(self) -> PoolLease | None:
        """What holds its lock."""
        return None if self.backend is None else self._context.proxy.pool.dispatcher.lease(self.backend)

    # -- the beginning -----------------------------------------------------------------------------------------

    async def start(self) -> bool:
        """Start the process; whether it became ready. If not, nothing is left of it, and `failure` says why."""
        try:
            self.port = self._context.choose_port(self.number)
            self.process = await self._spawn()
        except OSError as error:
            self.state = State.OVER
            self.shortage = shortage(error)
            self.failure = f"could not be started: {error.strerror or error}{_of(error.filename)}"
            return False
        except TemplateError as error:
            self.state = State.OVER
            self.process = error.process  # its last lines, and its end, are what there is to tell
            self.failure = "" if self._stopping else f"was not forked: {error}"
            return False
        readiness = Readiness(self.process, self.port, self._context, self._log, lambda: self._stopping)
        self.readiness = readiness
        ready = False
        try:
            deadline = self.began + self._context.settings.startup_timeout
            ready = await readiness.wait(deadline) and not self._stopping
            if not ready:
                self.failure = await self._why_not_ready(self.process, readiness)
        finally:
            if not ready:
                await self._bury(self.process)
            self.output.end()
        return ready

    async def _spawn(self) -> ChildProcess:
        """Raises OSError or TemplateError."""
        context, number, name = self._context, self.number, f"worker-{self.number}"
        flood = Flood(context.settings.log_worker_rate, lambda text: self._log.warning("%s", text))
        if context.preload is not None:
            template = await context.preload.template()
            self.began = monotonic()
            return await template.fork(self.port, number, name, self._on_line, flood)
        return await ChildProcess.start(
            context.program.argv(self.port),
            context.program.directory,
            context.program.environment(self.port, number),
            context.reaper,
            self._on_line,
            name,
            flood,
        )

    def _on_line(self, stream: str, line: str) -> None:
        if self.output.is_new(stream, line):
            self._context.on_line(self.number, stream, line)

    async def _why_not_ready(self, process: ChildProcess, readiness: Readiness) -> str:
        """Return what went wrong with the start; empty if that is no fault of the process."""
        if self._stopping or readiness.port_lost:
            return ""
        if not process.exited.done():
            return readiness.why_not()
        await process.output_ended()
        how = how_it_ended(process)
        if self.ending:
            return f"{how} ({self.ending.text})"
        if is_free(self.port):
            return f"{how} before it listened on port {self.port}"
        readiness.lose_port()
        return ""

    # -- in service --------------------------------------------------------------------------------------------

    def enter_service(self, held: bool) -> None:
        """It is ready: from now on it is a backend, until its process exits. If `held`, it gets no requests yet."""
        process, readiness = self.process, self.readiness
        assert process is not None
        assert readiness is not None
        self._held = held
        backend = self.backend = Backend(str(self.number), self.host, self.port, connect_tcp, supervised=True)
        backend.on_unreachable = lambda error: self._unreachable.set()
        backend.on_hung = self._kill_hung
        self.state = State.READY
        self.ready_at = monotonic()
        self.served_before = self._context.served(self.number)
        where = f" at {self.host}" if self.host != HOST else ""
        self._log.info("ready on port %d (pid %d)%s after %s", self.port, process.pid, where,
                       format_duration(self.ready_at - self.began))  # fmt: skip
        self._context.proxy.pool.add(backend, held=held)
        tasks.start(self._serve(process, backend, readiness), f"process {process.pid} of worker {self.number}")

    async def _serve(self, process: ChildProcess, backend: Backend, readiness: Readiness) -> None:
        proxy = self._context.proxy
        try:
            while not process.exited.done():
                self._unreachable.clear()
                await _first(process.exited, self._unreachable.wait())
                if self._unreachable.is_set() and not await self._recovers(process, backend, readiness):
                    break
        finally:
            self.served_last = proxy.pool.remove(backend) or self.served_last
            backend.close(whatever=self._stopping)
            proxy.clients.worker_exited(backend)
            try:
                await self._bury(process)
            finally:
                self.state = State.OVER
                self.exited.set_result(None)

    async def _recovers(self, process: ChildProcess, backend: Backend, readiness: Readiness) -> bool:
        """Wait until a process that accepts no connection does so again; return False if it does not, or exits."""
        before, self.state = self.state, State.STARTING
        if not await readiness.accepts(monotonic() + self._context.settings.startup_timeout):
            if not process.exited.done():
                self.ending = Cause(Reason.EXIT, "it accepts no connections any more")
            return False
        if self.state is State.STARTING:  # else it was retired meanwhile
            self.state = before
            if before is State.READY and not self._held:
                self._context.proxy.pool.resume(backend)
        return True

    def _kill_hung(self, record: Record) -> None:
        self._log.warning("did not answer %s in time; it is killed and replaced", serving(record))
        self.served_last = record
        self.kill(Cause(Reason.HUNG, "its request took too long"))

    def hold(self) -> None:
        """Give it no more requests, and keep it."""
        self._held = True
        if self.backend is not None:
            self._context.proxy.pool.hold(self.backend)

    def resume(self) -> None:
        """Undo hold."""
        self._held = False
        if self.backend is not None and self.in_service:
            self._context.proxy.pool.resume(self.backend)

    # -- the end -----------------------------------------------------------------------------------------------

    async def retire(self, cause: Cause) -> None:
        """Give it no more requests, wait for the one in progress, end it, and wait until nothing is left of it.

        It must be in service.
        """
        self.ending = self.ending or cause
        self.state = State.DRAINING
        if self.backend is not None:
            await self._context.proxy.pool.retire(self.backend)
        if self.process is not None:
            await self._stop(self.process, STOP_GRACE)
        await asyncio.wait([self.exited])

    def kill(self, cause: Cause) -> None:
        """End it now, whatever it does."""
        self.ending = self.ending or cause
        if self.process is not None:
            self.process.kill()

    def stop_starting(self) -> None:
        """It is not wanted any more. If it is starting, `start` gives up."""
        self._stopping = True

    async def end(self, grace: float) -> None:
        """End the process; SIGKILL after `grace` seconds."""
        self._stopping = True
        if self.process is not None:
            await self._stop(self.process, grace)

    async def _stop(self, process: ChildProcess, grace: float) -> None:
        """By the signal that suits it; see --stop-signal."""
        manner = Manner(self._context.settings.stop_signal, process.pid, self.host, self.port)
        try:
            await process.stop(grace, manner)
        finally:
            manner.close()

    async def _bury(self, process: ChildProcess) -> None:
        """Make sure that nothing of it is left, and that we have heard all it said."""
        if not process.exited.done():
            await self._stop(process, STOP_GRACE)
        await process.output_ended()
        self.state = State.OVER

    @property
    def reason(self) -> Reason:
        """Why it has ended."""
        return self.ending.reason if self.ending is not None else Reason.EXIT

    @property
    def outcome(self) -> str:
        """How it ended, once it is over: `crashed (SIGSEGV) while serving GET /segv?x=1 from 10.0.0.7 after 1.41s`."""
        process = self.process
        assert process is not None
        how = how_it_ended(process)
        after = f"after {format_duration(monotonic() - self.began)}"
        work = f"while serving {serving(self.served_last)}" if self.served_last is not None else ""
        if how.endswith(OUT_OF_MEMORY):
            return f"{how} ({work}, {after})" if work else f"{how} ({after})"
        text = f"{how} {work} {after}" if work else f"{how} {after}"
        return f"{text} ({self.ending.text})" if self.ending else text


def _of(path: object) -> str:
    return "" if path is None else f": {os.fsdecode(path) if isinstance(path, str | bytes) else path}"


async def _first(future: asyncio.Future[int], *others: object) -> None:
    """Wait for the first of them."""
    waits = [asyncio.ensure_future(other) for other in others]  # type: ignore[call-overload]
    try:
        await asyncio.wait([future, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
