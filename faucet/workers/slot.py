"""A numbered slot for a worker: there is a process in it, or there soon will be again.

One task looks after one slot and tells its story from top to bottom (`live`). A process that ends is followed by
another: at once the first time, then after longer and longer pauses; one that is replaced leaves only after the other
is ready (`replace`), so that no request waits for it. Once a slot is given up, nothing is started in it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from faucet.backoff import Backoff
from faucet.units import format_duration
from faucet.workers.advice import NONE, Advice, advice
from faucet.workers.instance import Instance, State

if TYPE_CHECKING:
    from faucet.workers.supervisor import Supervisor

_log = logging.getLogger("faucet")

BACKOFF = Backoff(1.0, 15.0, jitter=0.25)
"""Before the second restart in a row; the first is at once."""

FAILED_BACKOFF = Backoff(60.0, 60.0, jitter=0.25)
"""Between two tries of a worker that has failed too often in a row."""

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
    "took too long": "hung",
}
"""Words in why a worker was ended, which are ours and never a client's, and what the metrics call it."""

WORDS_SHOWN = 5
"""Lines of a failed replacement that are shown with its failure."""


class ReplaceError(Exception):
    """The replacement of a worker did not become ready. The old one goes on."""

    def __init__(self, text: str, advice: Advice = NONE) -> None:
        super().__init__(text)
        first = text.partition("\n")[0]
        self.short = advice.text or f"the replacement {first}"
        """Why, in one line."""


class SlotLog(logging.LoggerAdapter[logging.Logger]):
    """Names the worker at the start of the text, for people, and apart, for programs."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        """Called by logging."""
        assert self.extra is not None
        return f"worker {self.extra['worker']}: {msg}", {**kwargs, "extra": self.extra}


class Slot:
    """Slot number `number`, from 1."""

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
        self._last_ending = ""  # why the process that ended last was ended
        self.last_lines: list[str] = []
        """The last words of the process that ended last."""
        self.advice = NONE
        """What to do about the latest failed start, while none has succeeded since."""
        self.next_try: float | None = None
        """When it is tried again, while it waits for that (monotonic)."""
        self.failures = 0  # in a row, without having been healthy between
        self.failed_starts = 0  # in a row, without having been ready between
        self.shortages = 0  # starts in a row that this machine had not the means for
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
                if not self.stopping:
                    if not self.shortages:
                        self._count_restart(self._last_ending)
                    await self._back_off()
            except Exception:  # a bug of ours must not leave the slot empty for ever
                self.log.exception("its start failed in an unforeseen way")
                self.instance = None
                self.failures += 1
                await self._sleep(BACKOFF.pause(self.failures))
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
        self.shortages = 0
        self.failed = False
        self.advice = NONE
        instance.enter_service()
        self.pool.became_ready()

    def instance_over(self, instance: Instance) -> None:
        """A process that was in service has ended."""
        self._remember_end(instance)
        if instance in self.leaving:
            self.leaving.remove(instance)
            self._tell_end(logging.INFO, instance)
        self._changed.set()

    def _tell_end(self, level: int, instance: Instance) -> None:
        """A sentence: `worker 1 crashed (SIGSEGV) while serving …`."""
        _log.log(level, "worker %s %s", self, instance.outcome, extra=self.log.extra)

    def _remember_end(self, instance: Instance) -> None:
        if instance.process is not None:
            self.exits.append(instance.outcome)
            self._last_ending = instance.ending
            self.last_lines = list(instance.process.last_lines)

    def _judge(self) -> None:
        """The process ended in service, and nobody had asked for that."""
        instance, self.instance = self.instance, None
        assert instance is not None
        if monotonic() - instance.began >= HEALTHY_AFTER:
            self.failures = 0
        self.failures += 1
        if not self.stopping:
            self._tell_end(logging.WARNING, instance)

    def _failed_to_start(self, instance: Instance) -> None:
        self.instance = None
        if not instance.failure or self.stopping:
            return
        if instance.shortage:
            self.shortages += 1
            self.pool.short_of(self, instance.shortage, instance.failure)
            return
        self.shortages = 0
        self._remember_end(instance)
        self.failures += 1
        self.failed_starts += 1
        self.log.warning("%s", instance.failure)
        if self.failed_starts >= self.pool.settings.max_restarts and not self.failed:
            self.failed = True
            self.log.error("failed to start %d times in a row; from now on it is tried once a minute",
                           self.failed_starts)  # fmt: skip
        self.advice = advice(self.last_lines, self.pool.program)
        self.pool.start_failed(self, instance.failure, self.last_lines)

    async def _back_off(self) -> None:
        """At once the first time, then longer and longer."""
        if self.shortages:
            delay = BACKOFF.pause(self.shortages)
        else:
            delay = FAILED_BACKOFF.pause(1) if self.failed else BACKOFF.pause(self.failures - 1)
        if delay:
            self.log.info("restart in %s", format_duration(delay))
            await self._sleep(delay)

    async def _sleep(self, delay: float) -> None:
        """Wait for so long, or until `try_now` or `give_up`."""
        if self.stopping:
            return
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

        If there is none in service, the next one that is started is waited for. Several may ask at once: there is
        never more than one successor, and one that was started after a caller had asked is what that caller wanted. If
        the slot is given up, nothing is done. Raises ReplaceError, and the old one goes on.
        """
        asked = monotonic()
        # Whoever has waited looks at everything again: others that waited for the same may have been first.
        while not self.stopping and not (
            self.in_service and self.instance is not None and self.instance.began >= asked
        ):
            if self.being_replaced:
                await self._replaced.wait()
            elif self.instance is None:
                self._decided.clear()
                self.try_now()
                await self._decided.wait()
                self._complain_unless_started()
            elif self.instance.backend is None:
                await self._decided.wait()  # it was started before, so it may be what is to be replaced
                self._complain_unless_started()
            else:
                await self._replace_once(why)
                return

    async def _replace_once(self, why: str) -> None:
        self._replaced.clear()
        try:
            await self._succeed(why)
        finally:
            self._replaced.set()

    def _complain_unless_started(self) -> None:
        """Raises ReplaceError, unless there is a process in service, or none is wanted any more."""
        if not self.stopping and (self.instance is None or self.instance.backend is None):
            raise ReplaceError(self.exits[-1] if self.exits else "could not be started", self.advice)

    async def _succeed(self, why: str) -> None:
        successor = self.successor = Instance(self)
        try:
            ready = await successor.start()
        finally:
            self.successor = None
            self._changed.set()
        if successor.shortage:
            self.pool.proxy.stats.count_shortage(successor.shortage)
        if self.stopping:
            await successor.end(0)
        elif not ready:
            self._remember_end(successor)
            lines = list(successor.process.last_lines) if successor.process is not None else []
            hint = advice(lines, self.pool.program)
            raise ReplaceError(_with_last_words(successor, lines, hint), hint)
        else:
            await self._take_over(successor, why)

    async def _take_over(self, successor: Instance, why: str) -> None:
        predecessor, self.instance = self.instance, successor
        assert predecessor is not None
        self._count_restart(why)
        self._started(successor)
        if predecessor.state is State.OVER:
            self._tell_end(logging.WARNING, predecessor)
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
            self.pool.proxy.pool.hold(self.instance.backend)

    def resume(self) -> None:
        """Undo hold."""
        self.held = False
        if self.instance is not None and self.instance.backend is not None and self.instance.in_service:
            self.pool.proxy.pool.resume(self.instance.backend)

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


def _with_last_words(instance: Instance, lines: list[str], hint: Advice) -> str:
    """Why it did not become ready, and what it said last: R tells there what is wrong."""
    reason = instance.failure or "was not ready: its port was taken by somebody else"
    text = "\n  | ".join([reason, *lines[-WORDS_SHOWN:]])
    return f"{text}\n  {hint.text}" if hint.text else text
