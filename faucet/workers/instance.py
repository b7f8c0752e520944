"""One process in a worker's slot, from its start to its end. It never has two requests at once.

    STARTING ──accepts──▶ READY ──retired──▶ DRAINING ──▶ OVER        any of them ──exits──▶ OVER

A process that is ready becomes a Backend of the proxy. When it exits, the backend is removed before anything else is
done, so that no other process on its port can be taken for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Any

from faucet import pauses, tasks
from faucet.net.connect import connect_tcp
from faucet.proxy.failures import RETRY_GRACE
from faucet.proxy.record import Account, serving
from faucet.proxy.upstream import Backend
from faucet.units import format_duration
from faucet.workers.causes import Cause, Reason
from faucet.workers.context import Context, SlotLog
from faucet.workers.doing import Mark, cpu_mark, doing
from faucet.workers.endings import Ending, by_a_stranger
from faucet.workers.flood import Flood
from faucet.workers.ports import HOST, is_free
from faucet.workers.process import ChildProcess
from faucet.workers.readiness import Readiness
from faucet.workers.repeats import StartOutput
from faucet.workers.request_errors import RequestErrors
from faucet.workers.shortages import shortage
from faucet.workers.stopping import Manner
from faucet.workers.template import TemplateError
from faucet.workers.warmup import WarmupFailed, warm_up

if TYPE_CHECKING:
    from faucet.proxy.holders import PoolLease

STOP_GRACE = 5.0
"""Seconds from the first signal to SIGKILL; what comes in between is in `process.py`."""


SLOW = 1.0
"""Seconds after which a request is slow: from then on the CPU time is known that it uses."""

LOOK_SECONDS = 1.0
"""Seconds to look at what a hung process is doing, before it is killed."""

JITTER = 0.1


class State(Enum):
    """The state of an instance."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    OVER = "over"


class Instance:
    """One process of worker `number`. Call `start`; if that succeeds, `enter_service`."""

    def __init__(self, number: int, context: Context, log: SlotLog, before: StartOutput | None = None) -> None:
        """Create an instance. Output that repeats that of a failed start (`before`) is left out of the log."""
        self.number = number
        self.state = State.STARTING
        self.port = 0
        self.began = monotonic()
        self.loaded = self.began
        """When the process began to load the API; for a forked process, when its template did."""
        self.ready_at = 0.0
        self.jitter = random.uniform(1 - JITTER, 1)
        """Share of the limits of age and requests at which the process is replaced, so that not all are at once."""
        self.served_before = 0
        """Requests that earlier processes in the slot have served."""
        self.healthy = True
        """Whether the latest health checks have not failed too often in a row."""
        self.process: ChildProcess | None = None
        self.readiness: Readiness | None = None
        self.backend: Backend | None = None
        self.failure = ""
        """Why the process did not become ready; empty if the process is not the cause."""
        self.shortage = ""
        """The resource that was exhausted on this machine at the start: see shortages.py."""
        self.served_last: Account | None = None
        """The request that the process was serving when it ended; None if it was idle."""
        self.ending: Cause | None = None
        """Why the process was ended; None if it ended by itself."""
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Completed when a process that was in service and all its descendants are gone."""
        self.output = StartOutput(lambda text: log.info("%s", text), before)
        """The output during the start."""
        self._errors = RequestErrors(str(number), self, context.proxy.pool.stats)
        self._held = False
        self._exited_at = 0.0
        self._slow: tuple[Account, Mark] | None = None  # a slow request, and the CPU time when it became that
        self._context = context
        self._log = log
        self._unreachable = asyncio.Event()
        self._stopping = False
        self._warming: asyncio.Future[None] | None = None

    @property
    def warming(self) -> bool:
        """Whether the process listens and is answering the requests of --warmup."""
        return self._warming is not None

    @property
    def in_service(self) -> bool:
        """Whether the process is ready for requests, even if it is held."""
        return self.state is State.READY

    @property
    def host(self) -> str:
        """The address of the process: 127.0.0.1, or ::1 if it listens only there."""
        return HOST if self.readiness is None else self.readiness.host

    @property
    def alive(self) -> bool:
        """Whether the process was started and has not exited."""
        return self.process is not None and not self.process.exited.done()

    @property
    def port_lost(self) -> bool:
        """Whether the start failed because another process had taken the port meanwhile."""
        return self.readiness is not None and self.readiness.port_lost

    @property
    def lease(self) -> PoolLease | None:
        """The lease of the worker's lock; None if the lock is free."""
        return None if self.backend is None else self._context.proxy.pool.dispatcher.lease(self.backend)

    # -- the beginning -----------------------------------------------------------------------------------------

    async def start(self) -> bool:
        """Start the process. Return whether it became ready; if not, it is gone, and `failure` says why."""
        try:
            self.port = self._context.choose_port(self.number)
            self.process = process = await self._spawn()
        except OSError as error:
            self.state = State.OVER
            self.shortage = shortage(error)
            self.failure = f"could not be started: {error.strerror or error}{_of(error.filename)}"
            return False
        except TemplateError as error:
            self.state = State.OVER
            self.process, self._exited_at = error.process, monotonic()  # its last lines tell why
            self.failure = "" if self._stopping else f"was not forked: {error}"
            return False
        process.exited.add_done_callback(lambda _: self._exit_noted(process))
        readiness = Readiness(process, self.port, self._context, self._log, lambda: self._stopping)
        self.readiness = readiness
        ready = False
        try:
            deadline = self.began + self._context.settings.startup_timeout
            ready = await readiness.wait(deadline) and not self._stopping
            if not ready:
                self.failure = await self._why_not_ready(process, readiness)
            elif self._context.settings.warmup:
                ready = await self._warm_up(process)
        finally:
            if not ready:
                await self._bury(process)
            self.output.end()
        return ready

    async def _spawn(self) -> ChildProcess:
        """Start or fork the process. Raises OSError or TemplateError."""
        context, number, name = self._context, self.number, f"worker-{self.number}"
        flood = Flood(context.settings.log_worker_rate, lambda text: self._log.warning("%s", text))
        if context.preload is not None:
            template = await context.preload.template()
            self.began, self.loaded = monotonic(), template.began
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

    async def _warm_up(self, process: ChildProcess) -> bool:
        """Send the requests of --warmup. Return whether the process answered them and is still wanted."""
        context, settings = self._context, self._context.settings
        asking = self._warming = asyncio.ensure_future(
            warm_up(
                settings.warmup, context.program.directory, self.host, self.port, settings.startup_timeout, self._log
            )
        )
        try:
            ends: list[asyncio.Future[Any]] = [asking, process.exited]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._warming = None
            await tasks.end(asking)
        error = None if asking.cancelled() else asking.exception()
        if error is not None:
            await asyncio.wait([process.exited], timeout=RETRY_GRACE)  # its exit explains more than its silence
        if self._stopping:
            return False
        if process.exited.done():
            await process.output_ended()
            self.failure = f"{process.how_it_ended} during its warm-up"
        elif isinstance(error, WarmupFailed):
            self.failure = str(error)
            self.ending = self.ending or Cause(Reason.EXIT, f"it {error}")
        elif error is not None:
            raise error
        return not self.failure

    def _on_line(self, stream: str, line: str) -> None:
        self._errors.see(stream, line)
        if self.output.is_new(stream, line):
            self._context.on_line(self.number, stream, line)

    async def _why_not_ready(self, process: ChildProcess, readiness: Readiness) -> str:
        """Return why the start failed; empty if the process is not the cause."""
        if self._stopping or readiness.port_lost:
            return ""
        if not process.exited.done():
            return readiness.why_not()
        await process.output_ended()
        how = process.how_it_ended
        if self.ending:
            return f"{how} ({self.ending.text})"
        if is_free(self.port):
            return f"{how} before it listened on port {self.port}"
        readiness.lose_port()
        return ""

    # -- in service --------------------------------------------------------------------------------------------

    def enter_service(self, held: bool) -> None:
        """Add the ready process to the pool as a backend, until it exits. If `held`, it gets no requests yet."""
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
                await _first(process.exited, self._unreachable.wait())
                if self._unreachable.is_set() and not await self._recovers(process, backend, readiness):
                    break
        finally:
            self.state = State.DRAINING  # its descendants may take seconds to end; it is not ready meanwhile
            if process.exited.done():
                backend.exit = process.how_it_ended
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
        self._unreachable.clear()  # before it gets requests again, of which the first may find it unreachable
        if self.state is State.STARTING:  # else it was retired meanwhile
            self.state = before
            if before is State.READY and not self._held:
                self._context.proxy.pool.resume(backend)
        return True

    def mark_slow(self) -> None:
        """Record the CPU time if a request has become slow. Call this once a second."""
        lease = self.lease
        if lease is None or self.process is None or monotonic() - lease.since < SLOW:
            return
        work = lease.holder.account
        if self._slow is None or self._slow[0] is not work:
            mark = cpu_mark(self.process.pid)
            self._slow = (work, mark) if mark is not None else None

    def _kill_hung(self, work: Account) -> None:
        self.served_last = work
        self.ending = self.ending or Cause(Reason.HUNG, "its request took too long")
        held = monotonic() - work.granted_at
        tasks.start(self._end_hung(work, held), f"end of the hung worker {self.number}")

    async def _end_hung(self, work: Account, held: float) -> None:
        process = self.process
        assert process is not None
        what = ""
        try:
            since = self._slow[1] if self._slow is not None and self._slow[0] is work else None
            with contextlib.suppress(TimeoutError):
                async with pauses.timeout(LOOK_SECONDS):
                    seen = await asyncio.to_thread(doing, process.pid, self.port)
                what = seen.text(since) if seen is not None else ""
        finally:
            process.kill()
            self._log.warning("did not answer %s within %s%s; it is killed and replaced", serving(work),
                              format_duration(held), f" ({what})" if what else "")  # fmt: skip
        if what and self.ending is not None and self.ending.reason is Reason.HUNG:
            self.ending = self.ending._replace(text=f"{self.ending.text}: {what}")

    def hold(self) -> None:
        """Give the process no more requests, but keep it running."""
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
        """Give the process no more requests, wait for the one in progress, and stop the process with its descendants.

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
        """Kill the process immediately (SIGKILL)."""
        self.ending = self.ending or cause
        if self.process is not None:
            self.process.kill()

    def stop_starting(self) -> None:
        """Cancel the start. If the process is starting, `start` returns False."""
        self._stopping = True
        if self._warming is not None:
            self._warming.cancel()

    async def end(self, grace: float) -> None:
        """End the process; SIGKILL after `grace` seconds."""
        self.stop_starting()
        if self.process is not None:
            await self._stop(self.process, grace)

    async def _stop(self, process: ChildProcess, grace: float) -> None:
        """Stop the process with the signal of --stop-signal, and with SIGKILL after `grace` seconds."""
        manner = Manner(self._context.settings.stop_signal, process.pid, self.host, self.port)
        try:
            await process.stop(grace, manner)
        finally:
            manner.close()

    async def _bury(self, process: ChildProcess) -> None:
        """Make sure that no process is left, and that all output has been read."""
        if not process.exited.done():
            await self._stop(process, STOP_GRACE)
        await process.output_ended()
        self.state = State.OVER

    @property
    def reason(self) -> Reason:
        """The reason of the end."""
        return self.ending.reason if self.ending is not None else Reason.EXIT

    def _exit_noted(self, process: ChildProcess) -> None:
        """Record the exit of the process, which has just happened."""
        self._exited_at = monotonic()
        if self.backend is not None:
            self._context.proxy.pool.hold(self.backend)  # until `_serve` runs and removes it, it gets no request
        if by_a_stranger(process.exited.result(), process.signals):
            kills = self._context.kernel_kills
            why = kills.why()
            self.ending = self.ending or Cause(Reason.OUT_OF_MEMORY if kills.out_of_memory else Reason.EXIT, why)

    @property
    def outcome(self) -> str:
        """How the process ended, available once it is over: see Ending."""
        process, work = self.process, self.served_last
        assert process is not None
        held = self._exited_at - work.granted_at if work is not None else 0.0
        why = self.ending.text if self.ending is not None else ""
        return Ending(process.how_it_ended, self._exited_at - self.began, work, held, process.peak, why).text


def _of(path: object) -> str:
    return "" if path is None else f": {os.fsdecode(path) if isinstance(path, str | bytes) else path}"


async def _first(future: asyncio.Future[int], *others: object) -> None:
    """Wait until at least one of the awaitables is done."""
    waits = [asyncio.ensure_future(other) for other in others]  # type: ignore[call-overload]
    try:
        await asyncio.wait([future, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
