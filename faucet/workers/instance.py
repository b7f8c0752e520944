"""One process in a worker's slot: from its start to its end, and never two requests at once in between.

    STARTING ──accepts──▶ READY ──retired──▶ DRAINING ──▶ OVER        any of them ──exits──▶ OVER

A process that is ready becomes a Backend of the proxy. When it exits, the backend is removed before anything else is
done, so that no other process on its port can be taken for it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Collection
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from faucet import tasks
from faucet.net.connect import connect_tcp
from faucet.net.descriptors import is_shortage
from faucet.net.port_owner import who_listens
from faucet.proxy.record import serving
from faucet.proxy.stats import Record
from faucet.proxy.upstream import Backend
from faucet.units import format_duration
from faucet.workers.causes import Cause, Reason
from faucet.workers.context import Context, SlotLog
from faucet.workers.flood import Flood
from faucet.workers.listening import HOST_6, Listening, listening_of
from faucet.workers.ports import HOST, is_free
from faucet.workers.process import ChildProcess
from faucet.workers.repeats import StartOutput
from faucet.workers.shortages import shortage
from faucet.workers.stopping import Manner

if TYPE_CHECKING:
    from faucet.proxy.pool import PoolLease

PROBE_INTERVAL = 0.05
"""Seconds between two attempts to connect to a starting worker. R takes 1.3 s, so this adds 2 % to that."""

PROBE_TIMEOUT = 1.0

FOREIGN_GRACE = 3.0
"""Seconds in which a worker whose port another process answers on may give up. After that, the other process is taken
for its proxy, as containers have one."""

HINT_AFTER = 5.0
"""Seconds after which the log says that a worker listens on another port only, long before it is given up."""

STOP_GRACE = 5.0
"""Seconds from the first signal to SIGKILL; what comes in between is in `process.py`."""


CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP}

OUT_OF_MEMORY = "not by Faucet: out of memory? see dmesg"
"""Where to look if SIGKILL did not come from Faucet: most often it came from the kernel."""

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
        self.host = HOST
        """Where its process is reached: 127.0.0.1, or ::1 if it listens there only."""
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
        self._short = False  # the latest attempt to connect to it failed for want of a descriptor

    @property
    def in_service(self) -> bool:
        """It gets requests, or would."""
        return self.state is State.READY

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
        deadline = self.began + self._context.settings.startup_timeout
        ready = False
        try:
            if not self._stopping:
                ready = await self._becomes_ready(self.process, deadline) and not self._stopping
        finally:
            if not ready:
                await self._bury(self.process)
            self.output.end()
        return ready

    async def _spawn(self) -> ChildProcess:
        context, number = self._context, self.number
        return await ChildProcess.start(
            context.program.argv(self.port),
            context.program.directory,
            context.program.environment(self.port, number),
            context.reaper,
            self._on_line,
            f"worker-{number}",
            Flood(context.settings.log_worker_rate, lambda text: self._log.warning("%s", text)),
        )

    def _on_line(self, stream: str, line: str) -> None:
        if self.output.is_new(stream, line):
            self._context.on_line(self.number, stream, line)

    async def _becomes_ready(self, process: ChildProcess, deadline: float) -> bool:
        """Whether it listens in time. If not, says why."""
        accepts = await self._accepts(process, min(deadline, monotonic() + HINT_AFTER))
        if not accepts and self._in_time(deadline) and not process.exited.done():
            if instead := self._listening().instead_of(self.port):
                self._log.warning("%s", instead)
            accepts = await self._accepts(process, deadline)
        if not accepts:
            await self._explain_failed_start(process)
            return False
        return self._listens_itself(process, in_doubt=True) or await self._shares_port(process)

    async def _accepts(self, process: ChildProcess, deadline: float) -> bool:
        """Whether its port accepts a connection before `deadline`, and before the process exits."""
        while not (process.exited.done() or self._stopping) and self._in_time(deadline):
            if await self._is_reached(process):
                return not process.exited.done()
            await asyncio.wait([process.exited], timeout=PROBE_INTERVAL)
        return False

    def _in_time(self, deadline: float) -> bool:
        """Whether there is time until `deadline`. That in which we did not run, or could not ask, does not count."""
        began = deadline - self._context.settings.startup_timeout
        return self._short or monotonic() < deadline + self._context.proxy.pool.pauses.since(began)

    async def _is_reached(self, process: ChildProcess) -> bool:
        """Whether its port accepts a connection now, at 127.0.0.1 or at ::1.

        The port was free at 127.0.0.1. At ::1 it may be another program's, so there it has to be the process's own.
        """
        if await self._accepts_at(self.host):
            return True
        if self.backend is not None or not await self._accepts_at(HOST_6):
            return False
        where = listening_of(process.pid)
        if where is None or not where.reached_at(HOST_6, self.port):
            return False
        self.host = HOST_6
        return True

    async def _accepts_at(self, host: str) -> bool:
        """Whether its port accepts a connection at `host`. That we lack descriptors is not the worker's fault."""
        try:
            transport, _ = await connect_tcp(asyncio.Protocol, host, self.port, PROBE_TIMEOUT)
        except (OSError, TimeoutError) as error:
            self._short = is_shortage(error)
            if self._short:
                self._context.proxy.pool.descriptors.note("readiness check")
            return False
        self._short = False
        transport.abort()  # type: ignore[attr-defined]
        return True

    def _listens_itself(self, process: ChildProcess, in_doubt: bool) -> bool:
        """Whether its process is the one that is reached on its port. If another is, at 127.0.0.1, it may be at ::1."""
        where = listening_of(process.pid)
        if where is None:
            return in_doubt
        if not where.on(self.port):
            return False
        if not where.reached_at(self.host, self.port):
            self.host = HOST if where.reached_at(HOST, self.port) else HOST_6
        self._warn_if_exposed(where)
        return True

    def _warn_if_exposed(self, where: Listening) -> None:
        """Once for all workers: they run the same program."""
        address = where.exposed(self.port)
        if address is not None and not self._context.exposed:
            self._context.exposed = True
            self._log.warning(
                "listens on %s, where other machines can reach it and bypass the lock; let it listen on %s only, "
                'in R: host = "%s"', address, HOST, HOST)  # fmt: skip

    async def _shares_port(self, process: ChildProcess) -> bool:
        """Somebody else answers on the port. If they took it first, our process gives up about now."""
        owner = who_listens(self.port, self.host) or "another process"
        _, pending = await asyncio.wait([process.exited], timeout=FOREIGN_GRACE)
        if pending and self._listens_itself(process, in_doubt=False):
            return True  # it has begun to listen meanwhile, beside the other
        if pending:
            self._log.warning("%s answers on port %d for it", owner, self.port)
            return True
        self._port_taken(owner)
        return False

    def _port_taken(self, owner: str) -> None:
        self._log.info("port %d was taken by %s; trying another", self.port, owner)
        self._context.ports_taken.add(self.port)

    async def _explain_failed_start(self, process: ChildProcess) -> None:
        if self._stopping:
            return
        if not process.exited.done():
            self.failure = self.why_not_listening()
            return
        await process.output_ended()
        how = _how_it_ended(process)
        if self.ending:
            self.failure = f"{how} ({self.ending.text})"
        elif is_free(self.port):
            self.failure = f"{how} before it listened on port {self.port}"
        else:
            self._port_taken(who_listens(self.port) or "another process")

    def _listening(self) -> Listening:
        """Where its process listens, as far as that is known."""
        return (self.process is not None and listening_of(self.process.pid)) or Listening()

    def listens_elsewhere(self) -> bool:
        """Whether its process listens, but not on its FAUCET_PORT. A Unix socket alone may be for something else than
        requests, unless it is all that there is after a while."""
        where = self._listening()
        waited = monotonic() - self.began >= HINT_AFTER
        return not where.on(self.port) and bool(where.tcp or (where.unix and waited))

    def why_not_listening(self) -> str:
        """What its living process does instead of listening on its port."""
        if instead := self._listening().instead_of(self.port):
            return instead
        waited = format_duration(self._context.settings.startup_timeout)
        return f"did not listen on port {self.port} (its FAUCET_PORT) within {waited}; --startup-timeout gives it more"

    # -- in service --------------------------------------------------------------------------------------------

    def enter_service(self, held: bool) -> None:
        """It is ready: from now on it is a backend, until its process exits. If `held`, it gets no requests yet."""
        process = self.process
        assert process is not None
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
        tasks.start(self._serve(process, backend), f"process {process.pid} of worker {self.number}")

    async def _serve(self, process: ChildProcess, backend: Backend) -> None:
        proxy = self._context.proxy
        try:
            while not process.exited.done():
                self._unreachable.clear()
                await _first(process.exited, self._unreachable.wait())
                if self._unreachable.is_set() and not await self._recovers(process, backend):
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

    async def _recovers(self, process: ChildProcess, backend: Backend) -> bool:
        """Wait until a process that accepts no connection does so again; return False if it does not, or exits."""
        before, self.state = self.state, State.STARTING
        if not await self._accepts(process, monotonic() + self._context.settings.startup_timeout):
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
        how = _how_it_ended(process)
        after = f"after {format_duration(monotonic() - self.began)}"
        work = f"while serving {serving(self.served_last)}" if self.served_last is not None else ""
        if how.endswith(OUT_OF_MEMORY):
            return f"{how} ({work}, {after})" if work else f"{how} ({after})"
        text = f"{how} {work} {after}" if work else f"{how} {after}"
        return f"{text} ({self.ending.text})" if self.ending else text


def _how_it_ended(process: ChildProcess) -> str:
    """Return `stopped` if `stop` ended it, else as `exit_text`. To be called once it has exited."""
    return "stopped" if process.stopped else exit_text(process.exited.result(), process.signals)


def _of(path: object) -> str:
    return "" if path is None else f": {os.fsdecode(path) if isinstance(path, str | bytes) else path}"


def exit_text(code: int, ours: Collection[int] = ()) -> str:
    """`exited with code 1`, `crashed (SIGSEGV)`, `stopped`. `ours` are the signals that we have sent."""
    if code >= 0:
        return f"exited with code {code}"
    if -code not in signal.valid_signals():
        return f"was ended by signal {-code}"
    number = signal.Signals(-code)
    if number in CRASHES:
        return f"crashed ({number.name})"
    if number == signal.SIGKILL and number not in ours:
        return f"was killed by {number.name}, {OUT_OF_MEMORY}"
    if number in ours:
        return "was killed" if number == signal.SIGKILL else "stopped"
    return f"was ended by {number.name}, not by Faucet"


async def _first(future: asyncio.Future[int], *others: object) -> None:
    """Wait for the first of them."""
    waits = [asyncio.ensure_future(other) for other in others]  # type: ignore[call-overload]
    try:
        await asyncio.wait([future, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
