"""One process in a worker's place: from its start to its end, and never two requests at once in between.

    STARTING ──accepts──▶ READY ──retired──▶ DRAINING ──▶ OVER        any of them ──exits──▶ OVER

A process that is ready becomes a Backend of the proxy. When it exits, the backend is removed before anything else is
done, so that nobody can take another process on its port for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from faucet import tasks
from faucet.net.connect import connect_tcp
from faucet.net.port_owner import ports_of, who_listens
from faucet.proxy.upstream import Backend
from faucet.units import format_duration
from faucet.workers.ports import HOST, is_free
from faucet.workers.process import ChildProcess

if TYPE_CHECKING:
    from faucet.proxy.exchange import Exchange
    from faucet.workers.slot import Slot

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


JITTER = 0.1


class State(Enum):
    """What a life is doing."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    OVER = "over"


class Instance:
    """One process. Call `start`; if that succeeds, `enter_service`."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.state = State.STARTING
        self.port = 0
        self.began = monotonic()
        self.ready_at = 0.0
        self.jitter = random.uniform(1 - JITTER, 1)
        """Share of the limits of its age and requests at which it is replaced: not all at the same time."""
        self.served_before = 0
        """Requests that its predecessors have served."""
        self.process: ChildProcess | None = None
        self.backend: Backend | None = None
        self.failure = ""
        """Why it did not become ready; empty if that was no fault of its own."""
        self.ending = ""
        """Why it was ended, if it did not end by itself."""
        self._pool = slot.pool
        self._log = slot.log
        self._unreachable = asyncio.Event()
        self._stopping = False

    @property
    def in_service(self) -> bool:
        """It gets requests, or would."""
        return self.state is State.READY

    @property
    def holder(self) -> Exchange | None:
        """What holds its lock."""
        return None if self.backend is None else self._pool.proxy.dispatcher.holder(self.backend)

    # -- the beginning -----------------------------------------------------------------------------------------

    async def start(self) -> bool:
        """Start the process; whether it became ready. If not, nothing is left of it, and `failure` says why."""
        try:
            self.port = self._pool.choose_port(self.slot.number)
            self.process = await self._spawn()
        except OSError as error:
            self.state = State.OVER
            self.failure = f"could not be started: {error}"
            return False
        deadline = self.began + self._pool.settings.startup_timeout
        try:
            ready = not self._stopping and await self._becomes_ready(self.process, deadline)
        except BaseException:
            await self._bury(self.process)
            raise
        if ready and not self._stopping:
            return True
        await self._bury(self.process)
        return False

    async def _spawn(self) -> ChildProcess:
        program, pool, number = self._pool.program, self._pool, self.slot.number
        return await ChildProcess.start(
            program.argv(self.port),
            program.directory,
            program.environment(self.port, number),
            pool.reaper,
            lambda stream, line: pool.on_line(number, stream, line),
        )

    async def _becomes_ready(self, process: ChildProcess, deadline: float) -> bool:
        """Whether it listens in time. If not, says why."""
        accepts = await self._accepts(process, min(deadline, monotonic() + HINT_AFTER))
        if not accepts and monotonic() < deadline and not process.exited.done():
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
        if not process.exited.done():
            self.failure = self.why_not_listening()
            return
        await process.output_ended()
        if self.ending:
            self.failure = f"{exit_text(process.exited.result())} ({self.ending})"
        elif is_free(self.port):
            self.failure = f"{exit_text(process.exited.result())} before it listened on port {self.port}"
        else:
            self._port_taken(who_listens(self.port) or "another process")

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

    # -- in service --------------------------------------------------------------------------------------------

    def enter_service(self) -> None:
        """It is ready: from now on it is a backend, until its process exits."""
        process = self.process
        assert process is not None
        backend = self.backend = Backend(str(self.slot.number), HOST, self.port, connect_tcp)
        backend.on_unreachable = lambda error: self._unreachable.set()
        backend.on_hung = self._kill_hung
        self.state = State.READY
        self.ready_at = monotonic()
        self.served_before = self._pool.served(self.slot)
        self._log.info("ready on port %d (pid %d) after %s", self.port, process.pid,
                       format_duration(self.ready_at - self.began))  # fmt: skip
        self._pool.proxy.add(backend, held=self.slot.held)
        tasks.start(self._serve(process, backend), f"worker {self.slot}")

    async def _serve(self, process: ChildProcess, backend: Backend) -> None:
        proxy = self._pool.proxy
        try:
            while not process.exited.done():
                self._unreachable.clear()
                await _first(process.exited, self._unreachable.wait())
                if self._unreachable.is_set() and not await self._recovers(process, backend):
                    break
        finally:
            proxy.remove(backend)
            backend.close(whatever=self._stopping)
            await self._bury(process)
            self.slot.instance_over(self)

    async def _recovers(self, process: ChildProcess, backend: Backend) -> bool:
        """It lives but accepts no connection. It may be about to exit, or busy with something of its own."""
        before, self.state = self.state, State.STARTING
        if not await self._accepts(process, monotonic() + self._pool.settings.startup_timeout):
            if not process.exited.done():
                self.ending = "it accepts no connections any more"
            return False
        if self.state is State.STARTING:  # else it was retired meanwhile
            self.state = before
            if before is State.READY and not self.slot.held:
                self._pool.proxy.resume(backend)
        return True

    def _kill_hung(self) -> None:
        self._log.warning("did not answer in time; it is killed and replaced")
        self.kill("its request took too long")

    # -- the end -----------------------------------------------------------------------------------------------

    async def retire(self, why: str) -> None:
        """Give it no more requests, wait for the one in hand, and end it."""
        self.ending = self.ending or why
        self.state = State.DRAINING
        if self.backend is not None:
            await self._pool.proxy.retire(self.backend)
        if self.process is not None:
            await self.process.stop(STOP_GRACE)

    def kill(self, why: str) -> None:
        """End it now, whatever it does."""
        self.ending = self.ending or why
        if self.process is not None:
            self.process.kill()

    def stop_starting(self) -> None:
        """It is not wanted any more. If it is starting, `start` gives up."""
        self._stopping = True

    async def end(self, grace: float) -> None:
        """End the process; SIGKILL after `grace` seconds."""
        self._stopping = True
        if self.process is not None:
            await self.process.stop(grace)

    async def _bury(self, process: ChildProcess) -> None:
        """Make sure that it is gone, and that we have heard all it said."""
        if not process.exited.done():
            await process.stop(STOP_GRACE)
        await process.output_ended()
        self.state = State.OVER

    @property
    def outcome(self) -> str:
        """How it ended, once it is over: `was ended by SIGKILL after 12.6s`."""
        assert self.process is not None
        text = f"{exit_text(self.process.exited.result())} after {format_duration(monotonic() - self.began)}"
        return f"{text} ({self.ending})" if self.ending else text


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
