"""A numbered place for a worker: it has a process in it, or will have one soon.

One task looks after each slot (`live`): start, await the exit, back off. After an exit the next process is started at
once the first time, then after increasing delays. To replace a process (`replace`), its successor is started first,
and it leaves when that is ready, so that no request waits; a slot has one replacement at a time. After `give_up`
nothing is started in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from faucet.backoff import Backoff
from faucet.fleet import Exit
from faucet.log.r_errors import why_failed
from faucet.proxy.record import describe
from faucet.units import format_duration
from faucet.workers.advice import NONE, Advice, advice
from faucet.workers.causes import PLANNED, UNASKED, Cause, Reason
from faucet.workers.context import Context, SlotLog
from faucet.workers.instance import Instance, State
from faucet.workers.repeats import StartOutput

BACKOFF = Backoff(1.0, 15.0, jitter=0.25)
"""Back-off before the second and later restarts in a row. The first restart is immediate."""

FAILED_BACKOFF = Backoff(60.0, 60.0, jitter=0.25)
"""Back-off between two starts of a worker that has failed too often in a row."""

HEALTHY_AFTER = 30.0
"""Seconds of service after which earlier failures are forgotten."""

PORT_TRIES = 5
"""Ports to try for one start. Several Faucets on one machine may choose the same free port at the same time."""

EXITS_REMEMBERED = 10

LINES_SHOWN = 5
"""Lines of a failed replacement that are shown with its failure."""


class ReplaceError(Exception):
    """The replacement of a worker, or of the template, did not become ready. The old one goes on."""

    def __init__(self, text: str, advice: Advice = NONE, said: str = "", subject: str = "the replacement ") -> None:
        """`said` is the error that the process wrote. The `subject` precedes the text where a sentence is needed."""
        super().__init__(text)
        self.sentence = subject + text
        self.short = advice.text or said or self.sentence.partition("\n")[0]
        """Why, in one line."""
        self.command = advice.command

    def in_a_line(self, remark: str) -> str:
        """Return why in one line: first what is wrong, then `remark`, then how the process ended."""
        first = self.sentence.partition("\n")[0]
        rest = "" if self.short == first else f". {first[:1].upper()}{first[1:]}"
        return f"{self.short.rstrip('.')}{remark}{rest}"


class Observer(Protocol):
    """What a slot reports to its supervisor."""

    def became_ready(self, slot: Slot) -> None:
        """Called when a process of `slot` has entered service."""
        ...

    def start_failed(self, slot: Slot, failure: str) -> None:
        """Called when a start has failed; `failure` says how, with the worker as its subject."""
        ...

    def ended(self, exit: Exit) -> None:
        """Called when a process that was in service has ended unexpectedly."""
        ...

    def short_of(self, slot: Slot, resource: str, failure: str) -> None:
        """Called when a start has failed since this machine has no more of `resource`."""
        ...


class Slot:
    """Slot number `number`, from 1."""

    def __init__(self, number: int, context: Context, observer: Observer) -> None:
        self.number = number
        self.context = context
        self.log = SlotLog(number)
        self.instance: Instance | None = None
        """The process that serves, or is about to."""
        self.successor: Instance | None = None
        """The process that is being started to replace `instance`."""
        self.predecessor: Instance | None = None
        """The replaced process, which finishes its request in progress and then ends."""
        self.stopping = False
        """Whether the slot is given up."""
        self.held = False
        self.failed = False
        """Whether too many starts in a row have failed. Then starts are tried only at long intervals."""
        self.restarts = 0
        """How often a process was replaced that had failed in some way; restarts on request are not counted."""
        self.exits: deque[Exit] = deque(maxlen=EXITS_REMEMBERED)
        """How its latest processes ended, newest last."""
        self.last_exit: Exit | None = None
        """The latest unexpected end of a process that was in service."""
        self.last_lines: list[str] = []
        """The last lines of the process that ended last."""
        self.advice = NONE
        """The advice for the latest failed start, until a start succeeds."""
        self.next_try: float | None = None
        """When the next start is due, during a back-off (monotonic clock)."""
        self.failures = 0  # in a row, without having been healthy between
        self.failed_starts = 0  # in a row, without having been ready between
        self.failing_since = 0.0  # when the first of them failed
        self.shortages = 0  # starts in a row that this machine had not the means for
        self._observer = observer
        self._failed_output: StartOutput | None = None  # of the latest start, if that failed
        self._attempts = 0  # starts that have succeeded or failed
        self._changed = asyncio.Event()  # see `_until`
        self._awake = asyncio.Event()
        self._replacing = asyncio.Lock()

    def __str__(self) -> str:
        return str(self.number)

    @property
    def instances(self) -> list[Instance]:
        """All processes of the slot."""
        return [instance for instance in (self.instance, self.successor, self.predecessor) if instance is not None]

    @property
    def in_service(self) -> bool:
        """Whether the slot has a process that is in service, even if it is held."""
        return self.instance is not None and self.instance.in_service

    # -- start, await exit, back off -----------------------------------------------------------------------------

    async def live(self) -> None:
        """Keep a process running in the slot until the slot is given up."""
        while not self.stopping:
            try:
                ended = await self._one_instance()
                if not self.stopping:
                    if not self.shortages:
                        self._count_restart(ended.reason)
                    await self._back_off()
            except Exception:  # a bug must not leave the slot empty forever
                self.log.exception("failed unexpectedly")
                self.instance = None
                self.failures += 1
                self._attempted()
                await self._sleep(BACKOFF.pause(self.failures))
        async with self._replacing:
            pass  # a successor has ended, and so has a predecessor

    async def _one_instance(self) -> Instance:
        """Start a process, and wait until it, or the last of those that have replaced it, has exited; return that."""
        instance, ready = await self._start(self._new_first)
        if not ready:
            self._failed_to_start(instance)
            self._attempted()
            return instance
        self._started(instance)
        self._attempted()
        ended = await self._exit()
        self._exited(ended)
        return ended

    async def _start(self, new: Callable[[], Instance]) -> tuple[Instance, bool]:
        """Start what `new` creates, and another one if a process of somebody else takes its port, up to PORT_TRIES.
        Return the last one, and whether it is ready."""
        for _ in range(PORT_TRIES):
            instance = new()
            ready = await instance.start()
            if not instance.port_lost or self.stopping:
                break
        return instance, ready

    def _new_first(self) -> Instance:
        self.instance = self._new_instance(self._failed_output)
        return self.instance

    def _new_instance(self, before: StartOutput | None = None) -> Instance:
        instance = Instance(self.number, self.context, self.log, before)
        instance.exited.add_done_callback(lambda _: self._changed.set())
        return instance

    async def _exit(self) -> Instance:
        """Wait until the process in service has exited, and none is about to take over from it."""
        await self._until(self._is_vacant)
        assert self.instance is not None
        return self.instance

    def _is_vacant(self) -> bool:
        return self.successor is None and self.instance is not None and self.instance.exited.done()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that changes with an attempt, a successor, an exit, or the end of the slot."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _attempted(self) -> None:
        """Count a start that has succeeded or failed."""
        self._attempts += 1
        self._changed.set()

    def _started(self, instance: Instance) -> None:
        self.failed_starts = 0
        self.shortages = 0
        self.failed = False
        self.advice = NONE
        self._failed_output = None
        instance.enter_service(self.held)
        self._observer.became_ready(self)

    def _exited(self, instance: Instance) -> None:
        """Take note of the exit of the process in service; at the end of the service, without a line in the log."""
        self.instance = None
        if monotonic() - instance.began >= HEALTHY_AFTER:
            self.failures = 0
        self.failures += 1
        if not self.stopping:
            self._remember_end(instance, logging.WARNING)
        elif instance.ending is not None:
            self._remember_end(instance, logging.INFO)

    def _remember_end(self, instance: Instance, level: int | None = None) -> None:
        if instance.process is not None:
            work = instance.served_last
            ended = Exit(monotonic(), str(self), instance.outcome, describe(work) if work is not None else "")
            self.exits.append(ended)
            self.last_lines = list(instance.process.last_lines)
            if level is not None:
                self.log.tell(level, ended.text)
            if instance.backend is not None and instance.reason in UNASKED:
                self.last_exit = ended
                self._observer.ended(ended)

    def _failed_to_start(self, instance: Instance) -> None:
        self.instance = None
        if self.stopping or not instance.failure:
            return
        if instance.shortage:
            self.shortages += 1
            self._observer.short_of(self, instance.shortage, instance.failure)
            return
        self.shortages = 0
        self._failed_output = instance.output
        self._remember_end(instance)
        self.failures += 1
        self.failing_since = self.failing_since if self.failed_starts else monotonic()
        self.failed_starts += 1
        self.log.warning("%s", instance.failure)
        if self.failed_starts >= self.context.settings.max_restarts and not self.failed:
            self.failed = True
            self.log.error("failed to start %d times in a row; from now on it is tried once a minute",
                           self.failed_starts)  # fmt: skip
        self.advice = advice(self.last_lines, self.context.program)
        self._observer.start_failed(self, instance.failure)

    async def _back_off(self) -> None:
        """Wait before the next start: not at all the first time, then for increasing delays."""
        if self.shortages:
            delay = BACKOFF.pause(self.shortages)
        else:
            delay = FAILED_BACKOFF.pause(1) if self.failed else BACKOFF.pause(self.failures - 1)
        if delay:
            self.log.info("restart in %s", format_duration(delay))
            await self._sleep(delay)

    async def _sleep(self, delay: float) -> None:
        """Wait for `delay` seconds, or until `try_now` or `give_up` is called."""
        if self.stopping:
            return
        self.next_try = monotonic() + delay
        self._awake.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), delay)
        self.next_try = None

    def _count_restart(self, reason: Reason) -> None:
        self.restarts += reason not in PLANNED
        self.context.proxy.stats.count_restart(reason.value)

    # -- being replaced ----------------------------------------------------------------------------------------

    async def replace(self, cause: Cause) -> None:
        """Replace the process by one that is started after this call, and leaves when that one is ready.

        If there is none in service, wait for the next start. With several calls at once there is still one successor;
        a process that was started after a call is what that call wanted. Do nothing if the slot is given up. Raises
        ReplaceError; then the old process goes on.
        """
        asked = monotonic()
        while not self._has_since(asked):
            if not self._has_backend:
                await self._next_attempt()
                continue
            async with self._replacing:
                if self._has_backend and not self._has_since(asked):
                    await self._succeed(cause)
                    return

    def _has_since(self, asked: float) -> bool:
        """Whether there is nothing to replace: it is given up, or what is in service was started since then."""
        return self.stopping or (self.instance is not None and self.in_service and self.instance.began >= asked)

    @property
    def _has_backend(self) -> bool:
        """Whether the slot has a process that has been ready."""
        return self.instance is not None and self.instance.backend is not None

    async def _next_attempt(self) -> None:
        """Wait for the start that is under way, or is due and comes now. Raises ReplaceError if it fails."""
        self.try_now()
        before = self._attempts
        await self._until(lambda: self.stopping or self._attempts > before)
        if not self.stopping and not self._has_backend:
            text = self.exits[-1].text if self.exits else "could not be started"
            raise ReplaceError(text, self.advice, why_failed(self.last_lines))

    def _new_successor(self) -> Instance:
        self.successor = self._new_instance()
        return self.successor

    async def _succeed(self, cause: Cause) -> None:
        try:
            successor, ready = await self._start(self._new_successor)
        finally:
            self.successor = None
            self._changed.set()
        if successor.shortage:
            self.context.proxy.stats.count_start_shortage(successor.shortage)
        if self.stopping:
            await successor.end(0)
        elif not ready:
            self._remember_end(successor)
            lines = list(successor.process.last_lines) if successor.process is not None else []
            hint = advice(lines, self.context.program)
            reason = successor.failure or "was not ready: its port was taken by another process"
            raise ReplaceError(with_last_lines(reason, lines, hint), hint, why_failed(lines))
        else:
            await self._take_over(successor, cause)

    async def _take_over(self, successor: Instance, cause: Cause) -> None:
        """To be called at once when the successor is ready: `live` looks for it then."""
        predecessor, self.instance = self.instance, successor
        assert predecessor is not None
        self._count_restart(cause.reason)
        self._started(successor)
        if predecessor.state is State.OVER:
            self._remember_end(predecessor, logging.WARNING)
            return
        self.predecessor = predecessor
        try:
            await predecessor.retire(cause)
        finally:
            self.predecessor = None
        self._remember_end(predecessor, logging.INFO)

    # -- from outside ------------------------------------------------------------------------------------------

    @property
    def being_replaced(self) -> bool:
        """Whether a replacement is being started, or the replaced process still has a request in progress."""
        return self._replacing.locked()

    def try_now(self) -> None:
        """End the back-off: start the next process now."""
        self._awake.set()

    def hold(self) -> None:
        """Give the worker no more requests, but keep its process."""
        self.held = True
        if self.instance is not None:
            self.instance.hold()

    def resume(self) -> None:
        """Undo hold."""
        self.held = False
        if self.instance is not None:
            self.instance.resume()

    def give_up(self) -> None:
        """Start no more processes in this slot."""
        self.stopping = True
        self._awake.set()
        self._changed.set()
        if self.successor is not None:
            self.successor.stop_starting()

    async def close(self, cause: Cause) -> None:
        """Give up the slot. The process in service finishes its request in progress."""
        self.give_up()
        if self.instance is not None and self.instance.in_service:
            await self.instance.retire(cause)
        elif self.instance is not None:
            await self.instance.end(0)

    async def end(self, grace: float) -> None:
        """Give up the slot, and stop all its processes, with SIGKILL after `grace` seconds."""
        self.give_up()
        await asyncio.gather(*(instance.end(grace) for instance in self.instances))


def with_last_lines(reason: str, lines: list[str], hint: Advice) -> str:
    """Return why a process did not become ready, and its last lines: R writes there what is wrong."""
    text = "\n  | ".join([reason, *lines[-LINES_SHOWN:]])
    return f"{text}\n  {hint.text}" if hint.text else text
