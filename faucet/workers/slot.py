"""A numbered place for a worker: there is a process in it, or there soon will be again.

One task looks after one place and tells its story from top to bottom (`live`). A process that ends is followed by
another: at once the first time, then after longer and longer pauses; one that is replaced leaves only after the other
is ready (`replace`), so that no request waits for it. Once a place is given up, nothing is started in it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from faucet.units import format_duration
from faucet.workers.advice import advice
from faucet.workers.instance import Instance, State

if TYPE_CHECKING:
    from faucet.workers.supervisor import Supervisor

_log = logging.getLogger("faucet")

BACKOFF_FIRST, BACKOFF_LIMIT, BACKOFF_JITTER = 1.0, 15.0, 0.25
"""Seconds before the second restart in a row (the first is at once), doubled each time up to the limit, plus or
minus the share of jitter."""

FAILED_PAUSE = 60.0
"""Seconds between two tries of a worker that has failed too often in a row."""

HEALTHY_AFTER = 30.0
"""Seconds of service after which earlier failures are forgotten."""

EXITS_REMEMBERED = 10

RESTART_REASONS = {
    "--max-requests": "max_requests",
    "--max-age": "max_age",
    "--max-rss": "max_rss",
    "unwell": "unhealthy",
    "rolling restart": "rolling_restart",
    "restarted by": "restart",
    "killed by": "kill",
    "did not answer": "hung",
}
"""Words in what the log says of a replacement, and what the metrics call it."""

WORDS_SHOWN = 5
"""Lines of a failed replacement that are shown with its failure."""


class ReplaceError(Exception):
    """The replacement of a worker did not become ready. The old one goes on."""


class SlotLog(logging.LoggerAdapter[logging.Logger]):
    """Names the worker at the start of the text, for people, and apart, for programs."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        """Called by logging."""
        assert self.extra is not None
        return f"worker {self.extra['worker']}: {msg}", {**kwargs, "extra": self.extra}


class Slot:
    """Place number `number`, from 1."""

    def __init__(self, number: int, pool: Supervisor) -> None:
        self.number = number
        self.pool = pool
        self.log = SlotLog(_log, {"worker": str(number)})
        self.instance: Instance | None = None
        """The process that serves, or is about to."""
        self.successor: Instance | None = None
        """Being started to take over from it."""
        self.leaving: list[Instance] = []
        """Predecessors that finish what they have in hand."""
        self.stopping = False
        """It is given up."""
        self.held = False
        self.failed = False
        """It has failed to start too often in a row: tried again now and then only."""
        self.restarts = 0
        self.exits: deque[str] = deque(maxlen=EXITS_REMEMBERED)
        """How its latest processes ended, newest last."""
        self.last_lines: list[str] = []
        """The last words of the process that ended last."""
        self.next_try: float | None = None
        """When it is tried again, while it waits for that (monotonic)."""
        self.failures = 0  # in a row, without having been healthy between
        self.failed_starts = 0  # in a row, without having been ready between
        self._changed = asyncio.Event()  # a process is over, or a successor has decided
        self._awake = asyncio.Event()
        self._decided = asyncio.Event()  # the latest start has succeeded or failed
        self._replaced = asyncio.Event()  # no replacement is under way
        self._replaced.set()

    def __str__(self) -> str:
        return str(self.number)

    @property
    def instances(self) -> list[Instance]:
        """All its processes."""
        return [instance for instance in (self.instance, self.successor, *self.leaving) if instance is not None]

    @property
    def in_service(self) -> bool:
        """There is a process in it that gets requests, or would."""
        return self.instance is not None and self.instance.in_service

    # -- the ordinary course -----------------------------------------------------------------------------------

    async def live(self) -> None:
        """Start, serve, start again, until stopped."""
        while not self.stopping:
            try:
                await self._one_instance()
            except Exception:  # a bug of ours must not leave the place empty for ever
                self.log.exception("its start failed in an unforeseen way")
                self.instance = None
                self.failures += 1
            if not self.stopping:
                self._count_restart(self.exits[-1] if self.exits else "")
                await self._back_off()
        await self._gone()

    async def _one_instance(self) -> None:
        self._decided.clear()
        instance = self.instance = Instance(self)
        if await instance.start():
            self._started(instance)
            self._decided.set()
            await self._until(self._is_vacant)
            self._judge()
        else:
            self._failed_to_start(instance)
            self._decided.set()

    def _is_vacant(self) -> bool:
        """The process in service is over, and no successor is about to take over."""
        return self.successor is None and (self.instance is None or self.instance.state is State.OVER)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _gone(self) -> None:
        """Wait for those that leave."""
        self._decided.set()
        await self._until(lambda: not self.instances)

    def _started(self, instance: Instance) -> None:
        self.failed_starts = 0
        self.failed = False
        instance.enter_service()
        self.pool.became_ready()

    def instance_over(self, instance: Instance) -> None:
        """A process that was in service has ended."""
        self._remember_end(instance)
        if instance in self.leaving:
            self.leaving.remove(instance)
            self.log.info("%s", instance.outcome)
        self._changed.set()

    def _remember_end(self, instance: Instance) -> None:
        if instance.process is not None:
            self.exits.append(instance.outcome)
            self.last_lines = list(instance.process.last_lines)

    def _judge(self) -> None:
        """The process ended in service, and nobody had asked for that."""
        instance, self.instance = self.instance, None
        assert instance is not None
        if monotonic() - instance.began >= HEALTHY_AFTER:
            self.failures = 0
        self.failures += 1
        if not self.stopping:
            self.log.warning("%s", instance.outcome)

    def _failed_to_start(self, instance: Instance) -> None:
        self.instance = None
        if not instance.failure or self.stopping:
            return
        self._remember_end(instance)
        self.failures += 1
        self.failed_starts += 1
        self.log.warning("%s", instance.failure)
        if self.failed_starts >= self.pool.settings.max_restarts and not self.failed:
            self.failed = True
            self.log.error("failed to start %d times in a row; from now on it is tried once a minute",
                           self.failed_starts)  # fmt: skip
        self.pool.start_failed(self, instance.failure, self.last_lines, advice(self.last_lines, self.pool.program))

    async def _back_off(self) -> None:
        """At once the first time, then longer and longer."""
        if self.failed:
            delay = FAILED_PAUSE
        elif self.failures <= 1:
            return
        else:
            delay = min(BACKOFF_FIRST * 2 ** (self.failures - 2), BACKOFF_LIMIT)
        delay *= random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)
        self.log.info("restart in %s", format_duration(delay))
        self.next_try = monotonic() + delay
        self._awake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), delay)
        self.next_try = None

    def _count_restart(self, why: str) -> None:
        self.restarts += 1
        reason = next((reason for words, reason in RESTART_REASONS.items() if words in why), "exit")
        self.pool.proxy.stats.count_restart(reason)

    # -- being replaced ----------------------------------------------------------------------------------------

    async def replace(self, why: str) -> None:
        """Have a process that was started after now; the one in service ends when that is ready, and it is done.

        If there is none in service, the next one that is started is waited for. If it is being replaced already, that
        is waited for. If it is given up, nothing is done. Raises ReplaceError, and the old one goes on.
        """
        if self.being_replaced:
            await self._replaced.wait()
            return
        if self.instance is None:
            self._decided.clear()
            self.try_now()
            await self._decided.wait()
            self._complain_unless_started()
            return
        if self.instance.backend is None:
            await self._decided.wait()  # it was started before, so it may be what is to be replaced
        self._complain_unless_started()
        if not self.stopping:
            self._replaced.clear()
            try:
                await self._succeed(why)
            finally:
                self._replaced.set()

    def _complain_unless_started(self) -> None:
        """Raises ReplaceError, unless there is a process in service, or none is wanted any more."""
        if not self.stopping and (self.instance is None or self.instance.backend is None):
            raise ReplaceError(self.exits[-1] if self.exits else "could not be started")

    async def _succeed(self, why: str) -> None:
        successor = self.successor = Instance(self)
        try:
            ready = await successor.start()
        finally:
            self.successor = None
            self._changed.set()
        if self.stopping:
            await successor.end(0)
        elif not ready:
            self._remember_end(successor)
            raise ReplaceError(_with_last_words(successor))
        else:
            await self._take_over(successor, why)

    async def _take_over(self, successor: Instance, why: str) -> None:
        predecessor, self.instance = self.instance, successor
        assert predecessor is not None
        self._count_restart(why)
        self._started(successor)
        if predecessor.state is State.OVER:
            self.log.warning("%s", predecessor.outcome)
        else:
            self.leaving.append(predecessor)
            await predecessor.retire(why)

    # -- asked from outside ------------------------------------------------------------------------------------

    @property
    def being_replaced(self) -> bool:
        """Its replacement is being started, or its predecessor still has something in hand."""
        return not self._replaced.is_set()

    def try_now(self) -> None:
        """Do not wait any longer before the next start."""
        self._awake.set()

    def hold(self) -> None:
        """Give it no more requests, and keep its process."""
        self.held = True
        if self.instance is not None and self.instance.backend is not None:
            self.pool.proxy.hold(self.instance.backend)

    def resume(self) -> None:
        """Undo hold."""
        self.held = False
        if self.instance is not None and self.instance.backend is not None and self.instance.in_service:
            self.pool.proxy.resume(self.instance.backend)

    def give_up(self) -> None:
        """Nothing more is started here."""
        self.stopping = True
        self._awake.set()
        if self.successor is not None:
            self.successor.stop_starting()

    async def close(self, why: str) -> None:
        """Give it up; the process in service finishes what it has in hand."""
        self.give_up()
        if self.instance is not None and self.instance.in_service:
            await self.instance.retire(why)
        elif self.instance is not None:
            await self.instance.end(0)

    async def end(self, grace: float) -> None:
        """Give it up, and end all its processes; SIGKILL after `grace` seconds."""
        self.give_up()
        await asyncio.gather(*(instance.end(grace) for instance in self.instances))


def _with_last_words(instance: Instance) -> str:
    """Why it did not become ready, and what it said last: R tells there what is wrong."""
    reason = instance.failure or "was not ready: its port was taken by somebody else"
    lines = list(instance.process.last_lines)[-WORDS_SHOWN:] if instance.process is not None else []
    return "\n  | ".join([reason, *lines])
