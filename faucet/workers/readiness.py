"""Wait until a worker can be reached, find out at which address, and explain why if it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from faucet.net.connect import connect_tcp
from faucet.net.descriptors import is_shortage
from faucet.net.port_owner import who_listens
from faucet.units import format_duration
from faucet.workers.context import Context, SlotLog
from faucet.workers.listening import HOST_6, Listening, listening_of
from faucet.workers.ports import HOST
from faucet.workers.process import ChildProcess

PROBE_SHARE, LEAST_PROBE_INTERVAL, PROBE_INTERVAL = 0.1, 0.005, 0.05
"""The pause between two attempts to connect to a starting worker, as a share of the time that it has taken so far; and
the least and most seconds of that. R takes 1.3 s, a worker that is forked from a template (--preload) 0.05 s."""

PROBE_TIMEOUT = 1.0

FOREIGN_GRACE = 3.0
"""Seconds in which a worker whose port another process answers on may give up. After that, the other process is taken
for its proxy, as containers have one."""

HINT_AFTER = 5.0
"""Seconds after which the log says that a worker listens on another port only, long before it is given up."""


class Readiness:
    """The readiness of one process that should listen on `port`. Waiting ends early when `is_stopping()`."""

    def __init__(
        self, process: ChildProcess, port: int, context: Context, log: SlotLog, is_stopping: Callable[[], bool]
    ) -> None:
        self.host = HOST
        """Where the process is reached: 127.0.0.1, or ::1 if it listens there only."""
        self.port_lost = False
        """Another program took the port before the process could."""
        self._process = process
        self._port = port
        self._context = context
        self._log = log
        self._is_stopping = is_stopping
        self._began = monotonic()
        self._settled = False  # it was ready once, so it stays where it is
        self._short = False  # the latest attempt to connect failed for want of a descriptor

    async def wait(self, deadline: float) -> bool:
        """Wait until the process is ready; return False if it is not before `deadline`, or exits, or lost its port."""
        accepts = await self.accepts(min(deadline, monotonic() + HINT_AFTER))
        if not (accepts or self._process.exited.done() or self._is_stopping()) and self._in_time(deadline):
            if instead := self._listening().instead_of(self._port):
                self._log.warning("%s", instead)
            accepts = await self.accepts(deadline)
        self._settled = accepts and (self._listens_itself(in_doubt=True) or await self._shares_port())
        return self._settled

    async def accepts(self, deadline: float) -> bool:
        """Wait until its port accepts a connection; return False if not before `deadline`, or if the process exits.

        The time in which we have no descriptor to connect with, or do not run, does not count.
        """
        exited = self._process.exited
        while not (exited.done() or self._is_stopping()) and self._in_time(deadline):
            if await self._is_reached():
                return not exited.done()
            pause = max(PROBE_SHARE * (monotonic() - self._began), LEAST_PROBE_INTERVAL)
            await asyncio.wait([exited], timeout=min(pause, PROBE_INTERVAL))
        return False

    def _in_time(self, deadline: float) -> bool:
        began = deadline - self._context.settings.startup_timeout
        return self._short or monotonic() < deadline + self._context.proxy.pool.pauses.since(began)

    async def _is_reached(self) -> bool:
        """Return whether its port accepts a connection now, at 127.0.0.1 or at ::1.

        The port was free at 127.0.0.1. At ::1 it may be another program's, so there it has to be the process's own.
        """
        if await self._accepts_at(self.host):
            return True
        if self._settled or not await self._accepts_at(HOST_6):
            return False
        where = listening_of(self._process.pid)
        if where is None or not where.reached_at(HOST_6, self._port):
            return False
        self.host = HOST_6
        return True

    async def _accepts_at(self, host: str) -> bool:
        """Return whether its port accepts a connection at `host`. A lack of our own descriptors is no fault of it."""
        try:
            transport, _ = await connect_tcp(asyncio.Protocol, host, self._port, PROBE_TIMEOUT)
        except (OSError, TimeoutError) as error:
            self._short = is_shortage(error)
            if self._short:
                self._context.proxy.pool.descriptors.note("readiness check")
            return False
        self._short = False
        transport.abort()  # type: ignore[attr-defined]
        return True

    def _listens_itself(self, in_doubt: bool) -> bool:
        """Return whether the process itself is reached on its port. If another is, at 127.0.0.1, it may be at ::1."""
        where = listening_of(self._process.pid)
        if where is None:
            return in_doubt
        if not where.on(self._port):
            return False
        if not where.reached_at(self.host, self._port):
            self.host = HOST if where.reached_at(HOST, self._port) else HOST_6
        self._warn_if_exposed(where)
        return True

    def _warn_if_exposed(self, where: Listening) -> None:
        """Warn if other machines can reach the worker; once for all workers, as they run the same program."""
        address = where.exposed(self._port)
        if address is not None and not self._context.exposed:
            self._context.exposed = True
            self._log.warning(
                "listens on %s, where other machines can reach it and bypass the lock; let it listen on %s only, "
                'in R: host = "%s"', address, HOST, HOST)  # fmt: skip

    async def _shares_port(self) -> bool:
        """Return whether to keep waiting although another process answers on the port. If the port is lost: no."""
        owner = who_listens(self._port, self.host) or "another process"
        _, pending = await asyncio.wait([self._process.exited], timeout=FOREIGN_GRACE)
        if pending and self._listens_itself(in_doubt=False):
            return True  # it has begun to listen meanwhile, beside the other
        if pending:
            self._log.warning("%s answers on port %d for it", owner, self._port)
            return True
        self.lose_port(owner)
        return False

    def lose_port(self, owner: str = "") -> None:
        """Record that another program has taken the port."""
        self.port_lost = True
        owner = owner or who_listens(self._port) or "another process"
        self._log.info("port %d was taken by %s; trying another", self._port, owner)
        self._context.ports_taken.add(self._port)

    def _listening(self) -> Listening:
        """Return where the process listens, as far as that is known."""
        return listening_of(self._process.pid) or Listening()

    def listens_elsewhere(self) -> bool:
        """Return whether the process listens, but not on its port. A Unix socket alone may be for something else than
        requests, unless it is all that there is after a while."""
        where = self._listening()
        waited = monotonic() - self._began >= HINT_AFTER
        return not where.on(self._port) and bool(where.tcp or (where.unix and waited))

    def why_not(self) -> str:
        """Return what the living process does instead of listening on its port, with the worker as the subject."""
        if instead := self._listening().instead_of(self._port):
            return instead
        waited = format_duration(self._context.settings.startup_timeout)
        return f"did not listen on port {self._port} (its FAUCET_PORT) within {waited}; --startup-timeout gives it more"
