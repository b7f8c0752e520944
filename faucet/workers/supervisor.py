"""The supervisor of local workers: N numbered slots with a process in each, and the commands on them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from faucet import tasks
from faucet.fleet import Action, Answer, Exit, Faults, Origin, Refused, StartFailed, WorkerDetails, WorkerStatus
from faucet.log.r_errors import why_failed
from faucet.proxy.server import Proxy
from faucet.settings import MOST_WORKERS, Span, WorkerSettings
from faucet.units import counted
from faucet.workers.advice import advice
from faucet.workers.autoscale import Autoscaler, first
from faucet.workers.causes import Cause, Reason
from faucet.workers.context import Context
from faucet.workers.faults import failed_reload, failed_starts
from faucet.workers.health import watch_health
from faucet.workers.instance import STOP_GRACE
from faucet.workers.ports import accepted_by_plumber, child_ports, free_port, is_free
from faucet.workers.preload import Preload
from faucet.workers.program import Program
from faucet.workers.reaper import Reaper
from faucet.workers.recycle import Recycler
from faucet.workers.rolling import Progress, RollingRestarts
from faucet.workers.scratch import sweep
from faucet.workers.shortages import remedy
from faucet.workers.slot import ReplaceError, Slot, with_last_lines
from faucet.workers.statuses import slot_details, slot_statuses
from faucet.workers.template import REMEDY, TemplateError

_log = logging.getLogger("faucet")

FIRST_TRIES = 3
"""Failed starts in a row of each worker, with none ever ready, after which the service gives up."""

NOT_OFFERED = {  # see Fleet
    "drop": "`drop` is for pods; a worker that Faucet has started is restarted or killed",
    "retry": "`retry` is for pods; `restart` starts a worker at once that waits for its next try",
}

EXITS_REMEMBERED = 100

TICK = 1.0
"""Seconds between two looks at whether workers are to be replaced, and whether there are enough."""


class Supervisor:
    """The fleet of local workers. `on_line(worker, stream, line)` gets each line of output.

    With a `span` of more than one number, there are as many workers as are needed.
    """

    def __init__(
        self,
        span: Span,
        program: Program,
        settings: WorkerSettings,
        proxy: Proxy,
        on_line: Callable[[int, str, str], None],
    ) -> None:
        self.span = span
        self.proxy = proxy
        self.reaper = Reaper()
        self.context = Context(program, settings, proxy, self.reaper, on_line, self.choose_port)
        if settings.preload:
            self.context.preload = Preload(program, settings, self.reaper, on_line, self._any_port)
        self.slots = [Slot(number, self.context, self) for number in range(1, first(span, settings) + 1)]
        self.closing: list[Slot] = []
        """Slots that were scaled away, and whose requests in progress are not finished yet."""
        self.rolling = RollingRestarts(self, settings.roll_batch)
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a worker is ready for the first time, or none is for a while; StartFailed if none ever will be."""
        self.actions: Mapping[str, Action] = {
            "restart": lambda command: self.restart(command.worker, command.who),
            "rolling-restart": lambda command: self.roll(command.who, command.wait),
            "scale": lambda command: self.scale(command.count, command.who),
            "hold": lambda command: self.hold(command.worker, command.who),
            "resume": lambda command: self.resume(command.worker, command.who),
            "kill": lambda command: self.kill(command.worker, command.who),
        }
        self.not_offered: Mapping[str, str] = NOT_OFFERED
        self.stopping = False
        self._ending = False
        self._settings = settings
        self._advice_told = ""
        self._exits: deque[Exit] = deque(maxlen=EXITS_REMEMBERED)
        self._recycler = Recycler(self)
        self._autoscaler = Autoscaler(self)
        self._ticking: asyncio.TimerHandle | None = None
        self._health_checks: set[asyncio.Task[Any]] = set()
        self._tasks: dict[Slot, asyncio.Task[None]] = {}
        self._actions: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Start all workers, side by side."""
        _log.info("starting %s", counted(len(self.slots), "worker"))
        self.reaper.guard()
        for slot in self.slots:
            self._start(slot)
        self._tick_later()
        self.act(asyncio.to_thread(self._sweep), "sweep of temporary directories")

    def _tick_later(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._tick_later()
        self.context.kernel_kills.look()
        for slot in self.slots:
            if slot.instance is not None:
                slot.instance.mark_slow()
        if not self.ending:
            self._autoscaler.look()
            self._recycler.look()

    def _sweep(self) -> None:
        for path in sweep():
            _log.info("removed %s: a Faucet that was killed had left it behind", path)

    def _start(self, slot: Slot) -> None:
        self._tasks[slot] = tasks.start(slot.live(), f"worker {slot}")

    async def leave(self, seconds: float) -> bool:
        """Return False: no other Faucet takes over local workers."""
        return False

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """End all workers; SIGKILL after `grace` seconds. Nothing of them is left afterwards."""
        self.stopping = True
        self.prepare_to_end()
        await asyncio.gather(*(slot.end(grace) for slot in self._all_slots))
        if self.context.preload is not None:
            await self.context.preload.stop()
        while running := [*self._tasks.values(), *self._actions]:
            await asyncio.wait(running)
            self._tasks = {slot: task for slot, task in self._tasks.items() if not task.done()}
        await self.reaper.scratch.removed()
        self.reaper.close()

    @property
    def _all_slots(self) -> list[Slot]:
        return [*self.slots, *self.closing]

    def choose_port(self, number: int) -> int:
        """Return a port for a process in slot `number`: one from --child-port on if that is free, else any.

        Worker i gets the i-th; its replacement gets one behind those of all workers. Raises OSError if there are no
        descriptors left.
        """
        if not self._settings.child_port:
            return self._any_port()
        used = self._ports_in_use
        wanted = child_ports(self._settings.child_port, number, len(self._all_slots))
        for port in wanted:
            if port not in used and self._suits(port) and is_free(port):
                return port
        _log.warning("worker %d: port %d is not free, taking another", number, wanted[0])
        return self._any_port()

    def _any_port(self) -> int:
        """Return any free port. Raises OSError."""
        return free_port(self._ports_in_use)

    @property
    def _ports_in_use(self) -> set[int]:
        return self.context.ports_taken | {instance.port for slot in self._all_slots for instance in slot.instances}

    def _suits(self, port: int) -> bool:
        """Return whether plumber accepts this port: after scaling up, some behind --child-port may be refused."""
        return port <= 65535 and (self.context.program.rscript is None or accepted_by_plumber(port))

    # -- what slots report --------------------------------------------------------------------------------------

    def became_ready(self, slot: Slot) -> None:
        """Serve, and watch the health of the new process."""
        self.proxy.pool.outage = self._advice_told = ""
        self.proxy.pool.asleep = False
        if not self.first_ready.done():
            self.first_ready.set_result(None)
        if self._settings.health_path and slot.instance is not None and not self.ending:
            watch = watch_health(slot.instance, self.context, slot.log)
            task = self.act(watch, f"health checks of worker {slot}")
            self._health_checks.add(task)
            task.add_done_callback(self._health_checks.discard)

    def start_failed(self, slot: Slot, failure: str) -> None:
        """Give up if no start ever succeeded, and all workers have had their chances."""
        self.proxy.pool.asleep = False
        self._advise(slot)
        if all(other.failed for other in self.slots):
            self.proxy.pool.fail(f"No worker can be started; the last one to try, worker {slot}, {failure}")
            if self._settings.keep_trying and not self.first_ready.done():
                self.first_ready.set_result(None)  # requests are answered with the reason
        if self.first_ready.done() or self._settings.keep_trying:
            return
        preload = self.context.preload
        if preload is not None and preload.final:
            self._give_up(f"no worker can be started: {preload.failure}. {REMEDY}")
        elif slot.failures >= FIRST_TRIES:
            self._give_up(self._listening_elsewhere() or self._all_failed(slot, failure))

    def _advise(self, slot: Slot) -> None:
        """Log what to do, once for all workers; again if they have worked in between, or if it is something else."""
        hint = slot.advice.text
        if hint and hint != self._advice_told and (self._settings.keep_trying or self.first_ready.done()):
            self._advice_told = hint
            slot.log.error("%s", hint)

    def _listening_elsewhere(self) -> str:
        """Return which worker listens on another port than its own, if one does. Where all workers fight for one port,
        the one that has it explains more than the one that exited."""
        for slot in self.slots:
            readiness = slot.instance.readiness if slot.instance is not None else None
            if readiness is not None and readiness.listens_elsewhere():
                return f"worker {slot} {readiness.why_not()}"
        return ""

    def _all_failed(self, slot: Slot, failure: str) -> str:
        """Return what happened if all workers have had their tries; empty if they have not."""
        if any(other.failures < FIRST_TRIES for other in self.slots):
            return ""
        lines = "".join(f"\n  | {line}" for line in slot.last_lines)
        text = f"no worker could be started, in {slot.failures} tries: worker {slot} {failure}"
        text += f"\nIts last lines:{lines}" if lines else "\nIt wrote nothing."
        return f"{text}\n{slot.advice.text}" if slot.advice.text else text

    def ended(self, exit: Exit) -> None:
        """Remember an unexpected end of a process."""
        self._exits.append(exit)

    def short_of(self, slot: Slot, resource: str, failure: str) -> None:
        """Give up if no worker could ever be started, though that is the machine's fault."""
        self.proxy.stats.count_start_shortage(resource)
        slot.log.error("%s: %s", failure, remedy(resource))
        if self.first_ready.done() or self._settings.keep_trying:
            return
        if all(other.shortages >= FIRST_TRIES for other in self.slots):
            self._give_up(f"no worker could be started, in {slot.shortages} tries: {failure}: {remedy(resource)}")

    def _give_up(self, text: str) -> None:
        if text:
            self.first_ready.set_exception(StartFailed(text))

    # -- what can be seen ---------------------------------------------------------------------------------------

    @property
    def changing(self) -> bool:
        """Whether some workers are not in service, or are leaving it."""
        return bool(self.closing) or self.starting

    @property
    def starting(self) -> bool:
        """Whether some of the workers that there should be are not in service."""
        return not all(slot.in_service for slot in self.slots)

    @property
    def count(self) -> int:
        """The number of workers that should run."""
        return len(self.slots)

    def described(self) -> str:
        """Return `4 workers`, or `2 to 8 workers`."""
        least, most = self.span
        return counted(least, "worker") if least == most else f"{least} to {most} workers"

    def origin(self) -> Origin:
        """Return nothing: Faucet itself has started the workers."""
        preload = self.context.preload
        return Origin(template=-1 if preload is None else preload.pid)

    def faults(self) -> Faults:
        """Return the problems of the workers."""
        failed = self.rolling.failed
        return Faults(failed_reload(self.slots, failed), failed_starts(self.slots), exits=tuple(self._exits))

    @property
    def failing(self) -> bool:
        """Whether no worker is in service, and each has failed to start."""
        return bool(self.slots) and all(slot.failed_starts and not slot.in_service for slot in self.slots)

    def statuses(self) -> list[WorkerStatus]:
        """Return the status of all workers, in order, and of the other processes in their slots."""
        return [status for slot in self._all_slots for status in slot_statuses(slot)]

    def notice(self) -> str:
        """Return how far a rolling restart is, or that there are no workers; an empty text if nothing is going on."""
        asleep = "" if self.slots else "no worker runs, since no request came; the next one starts one"
        preload = self.context.preload
        return self.rolling.notice() or asleep or (preload.failure if preload is not None else "")

    def details(self, worker: str) -> WorkerDetails:
        """Return all details of one worker. Raises Refused if there is no such worker."""
        return slot_details(self._find(worker, even_closing=True))

    def restart(self, worker: str, who: str) -> str:
        """Replace a process by one that is ready first; `all`: all of them at once. Raises Refused."""
        if worker == "all":
            chosen = [slot for slot in self.slots if not slot.being_replaced]
            if not chosen:
                raise Refused("all workers are already being replaced")
            return "; ".join(self._restart(slot, who) for slot in chosen)
        slot = self._find(worker)
        if slot.being_replaced:
            raise Refused(f"worker {slot} is already being replaced")
        return self._restart(slot, who)

    def _restart(self, slot: Slot, who: str) -> str:
        self._refuse_if_ending()
        slot.log.info("restart requested by %s", who)
        self._recycler.code_changed()
        instance = slot.instance
        cause = Cause(Reason.RESTART, f"restarted by {who}")
        self.act(self.replace(slot, cause), f"restart of worker {slot}")
        if instance is None or instance.backend is None:
            return f"worker {slot} is started at once"
        if instance.lease is not None:
            return f"worker {slot} finishes its request in progress once its replacement is ready"
        return f"worker {slot} is replaced as soon as another is ready"

    async def replace(self, slot: Slot, cause: Cause) -> bool:
        """Replace the process in `slot`, and wait for it. Return whether that succeeded; if not, the log says why."""
        try:
            await slot.replace(cause)
        except ReplaceError as error:
            slot.log.error("not replaced: the replacement %s", error)
            return False
        return True

    def act(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run a coroutine as a task, which the shutdown waits for."""
        task = tasks.start(coroutine, name)
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)
        return task

    @property
    def ending(self) -> bool:
        """Whether no new operation may begin."""
        return self._ending or self.proxy.pool.draining

    def prepare_to_end(self) -> None:
        """Stop health checks, and begin no replacement: the service ends."""
        self._ending = True
        if self._ticking is not None:
            self._ticking.cancel()
        for task in self._health_checks:
            task.cancel()

    def _refuse_if_ending(self) -> None:
        if self.ending:
            raise Refused("the service is ending")

    def roll(self, who: str, wait: bool = False) -> Answer:
        """Replace all workers, one batch after the other. With `wait`, answer when it is done. Raises Refused."""
        progress = self._roll(who)
        many = f"{progress.total} workers are replaced, one after the other"
        return progress.result if wait else "the worker is replaced" if progress.total == 1 else many

    def _roll(self, who: str) -> Progress:
        self._refuse_if_ending()
        progress = self.rolling.start(who)
        self._recycler.code_changed()
        return progress

    def reload(self, why: str) -> None:
        """Have a rolling restart, so that workers use what is there now; after the one in progress if there is one."""
        if self.rolling.follow(why):
            return
        try:
            self._roll(why)
        except Refused as error:
            _log.warning("no rolling restart for %s: %s", why, error)

    @property
    def is_rolling(self) -> bool:
        """Whether a rolling restart is in progress."""
        return self.rolling.progress is not None

    @contextlib.asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """With --preload, load the API again, for the body and afterwards; if the body fails, what was there stays.

        Raises ReplaceError before the body if that fails.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self.context.preload is not None:
                try:
                    await stack.enter_async_context(self.context.preload.renewed())
                except TemplateError as error:
                    lines = list(error.process.last_lines) if error.process is not None else []
                    hint = advice(lines, self.context.program)
                    raise ReplaceError(
                        with_last_lines(str(error), lines, hint), hint, why_failed(lines), subject=""
                    ) from error
            yield

    def scale(self, count: int, who: str) -> str:
        """Have `count` workers; those that are too many finish their requests in progress. Raises Refused."""
        self._refuse_if_ending()
        least = min(self.span.least, 1)
        if not least <= count <= MOST_WORKERS:
            raise Refused(f"{count} workers are not possible; expected a number from {least} to {MOST_WORKERS}")
        before = len(self.slots)
        if count == before:
            return f"there are {count} workers already"
        _log.info("scaled from %d to %d workers, requested by %s", before, count, who)
        while len(self.slots) < count:
            self._add_slot()
        for slot in self.slots[count:]:
            self.closing.append(slot)
            cause = Cause(Reason.SCALE_DOWN, f"scaled down by {who}")
            self.act(self._close(slot, cause), f"end of worker {slot}")
        del self.slots[count:]
        self.proxy.pool.asleep = self.proxy.pool.asleep or not self.slots
        return f"{count} workers, {before} before"

    def _add_slot(self) -> None:
        taken = {slot.number for slot in self._all_slots}
        slot = Slot(min(set(range(1, len(taken) + 2)) - taken), self.context, self)
        self.slots.append(slot)
        self.slots.sort(key=lambda slot: slot.number)
        self._start(slot)

    async def _close(self, slot: Slot, cause: Cause) -> None:
        await slot.close(cause)
        await asyncio.wait([self._tasks[slot]])
        self._tasks.pop(slot, None)
        self.closing.remove(slot)
        self.proxy.stats.forget(str(slot))

    def hold(self, worker: str, who: str) -> str:
        """Give a worker no more requests, and keep its process. Raises Refused."""
        slot = self._find(worker)
        if not slot.held:
            slot.log.info("held by %s", who)
            slot.hold()
        return f"worker {slot} gets no more requests until it is resumed; its process is kept"

    def resume(self, worker: str, who: str) -> str:
        """Give a held worker requests again. Raises Refused."""
        slot = self._find(worker)
        if not slot.held:
            raise Refused(f"worker {slot} is not held")
        slot.log.info("resumed by %s", who)
        slot.resume()
        return f"worker {slot} serves again"

    def kill(self, worker: str, who: str) -> str:
        """Send SIGKILL to a worker's process; `3-`: to the predecessor in slot 3, `3+`: to the successor. Raises
        Refused."""
        slot = self._find(worker, even_closing=True)
        instance = {"-": slot.predecessor, "+": slot.successor}.get(worker[-1:], slot.instance)
        if instance is None or instance.process is None or not instance.alive:
            raise Refused(f"worker {worker} has no process now")
        slot.log.warning("killed by %s", who)
        instance.kill(Cause(Reason.KILL, f"killed by {who}"))
        again = "" if slot.stopping or worker[-1] in "+-" else ", and started again"
        return f"worker {worker} (pid {instance.process.pid}) is killed{again}"

    def _find(self, worker: str, even_closing: bool = False) -> Slot:
        name = worker.rstrip("+-")
        for slot in self.slots:
            if str(slot) == name:
                return slot
        for slot in self.closing:
            if str(slot) == name:
                if even_closing:
                    return slot
                raise Refused(f"worker {name} is leaving: it was scaled away")
        numbers = ", ".join(str(slot) for slot in self.slots)
        raise Refused(f"there is no worker {name}; there are {numbers}")
