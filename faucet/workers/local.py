"""Local workers: N numbered places with a process in each, and what can be asked of them while they serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from faucet import tasks
from faucet.proxy.core import Proxy
from faucet.settings import MOST_WORKERS, Span, WorkerSettings
from faucet.snapshot import Origin, WorkerRow
from faucet.units import counted
from faucet.workers.entry import Entry
from faucet.workers.fleet import Refused, StartFailed
from faucet.workers.keeper import Keeper
from faucet.workers.life import STOP_GRACE, Life
from faucet.workers.overseer import Overseer
from faucet.workers.place import Place, ReplaceError
from faucet.workers.ports import free_port, is_free
from faucet.workers.rows import place_details, place_rows

_log = logging.getLogger("faucet")

FIRST_TRIES = 3
"""Failed starts in a row of each worker, with none ever ready, after which the service gives up."""


@dataclass(slots=True)
class Roll:
    """A rolling restart: how far it is."""

    total: int
    result: asyncio.Future[str]
    """What came of it, in a sentence; Refused if it was stopped."""
    done: int = 0
    current: str = ""
    """The worker whose replacement is being started."""

    def end(self, outcome: str | Refused) -> None:
        """Tell whoever waits for it, if somebody does."""
        if isinstance(outcome, Refused):
            self.result.set_exception(outcome)
            self.result.exception()  # it may well be that nobody waits
        else:
            self.result.set_result(outcome)


class LocalWorkers:
    """All places. `on_line(worker, stream, line)` gets each line of output.

    With a `span` of more than one number, there are as many as are needed.
    """

    def __init__(
        self, span: Span, entry: Entry, settings: WorkerSettings, proxy: Proxy, on_line: Callable[[int, str, str], None]
    ) -> None:
        self.entry = entry
        self.settings = settings
        self.least, self.most = span
        self.proxy = proxy
        self.on_line = on_line
        self.keeper = Keeper()
        self.ports_taken: set[int] = set()
        self.places = [Place(number, self) for number in range(1, span.least + 1)]
        self.closing: list[Place] = []
        """Given up, but they still have something in hand."""
        self.rolling: Roll | None = None
        self._next_roll = ""  # why another one follows
        loop = asyncio.get_running_loop()
        self.first_ready: asyncio.Future[None] = loop.create_future()
        """Done when a worker is ready for the first time, or none is for a while; StartFailed if none ever will be."""
        self.stopping = False
        self._overseer = Overseer(self)
        self._tasks: dict[Place, asyncio.Task[None]] = {}
        self._actions: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Start all workers, side by side."""
        _log.info("starting %s", counted(self.least, "worker"))
        for place in self.places:
            self._start(place)
        self._overseer.start()

    def _start(self, place: Place) -> None:
        self._tasks[place] = tasks.start(place.live(), f"worker {place}")

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """End all workers; SIGKILL after `grace` seconds. Nothing of them is left afterwards."""
        self.stopping = True
        self._overseer.stop()
        await asyncio.gather(*(place.end(grace) for place in self._all_places))
        while running := [*self._tasks.values(), *self._actions]:
            await asyncio.wait(running)
            self._tasks = {place: task for place, task in self._tasks.items() if not task.done()}
        self.keeper.close()

    @property
    def _all_places(self) -> list[Place]:
        return [*self.places, *self.closing]

    def choose_port(self, number: int) -> int:
        """A port for a process in place `number`: one of those that were asked for, if it is to be had; else any.

        Worker i gets the i-th; while it is being replaced its successor gets one behind those of all workers. Raises
        OSError if there are no descriptors left.
        """
        used = {life.port for place in self._all_places for life in place.lives}
        if not self.settings.child_port:
            return free_port(used)
        first, count = self.settings.child_port, len(self._all_places)
        wanted: list[int] = [first + number - 1, *range(first + count, first + 2 * count)]
        for port in wanted:
            if port <= 65535 and port not in self.ports_taken | used and is_free(port):
                return port
        _log.warning("worker %d: port %d is not free, taking another", number, wanted[0])
        return free_port(used)

    # -- what places tell --------------------------------------------------------------------------------------

    def became_ready(self) -> None:
        """A worker is ready."""
        self.proxy.outage = ""
        if not self.first_ready.done():
            self.first_ready.set_result(None)

    def start_failed(self, place: Place, reason: str, last_lines: list[str], hint: str) -> None:
        """A start failed; the last chance if none ever succeeded."""
        if all(other.failed for other in self.places):
            self.proxy.fail(f"No worker can be started; the last one to try, worker {place}, {reason}")
            if self.settings.keep_trying and not self.first_ready.done():
                self.first_ready.set_result(None)  # whoever asks is told why
        if self.first_ready.done() or self.settings.keep_trying or place.failures < FIRST_TRIES:
            return
        elsewhere = next((life for other in self.places if (life := other.life) and life.listens_elsewhere()), None)
        if elsewhere is not None:
            # Workers that fight for one port of their own: the one that has it tells more than the one that ended.
            self._give_up(f"worker {elsewhere.place} {elsewhere.why_not_listening()}")
        elif all(other.failures >= FIRST_TRIES for other in self.places):
            said = "".join(f"\n  | {line}" for line in last_lines)
            text = f"no worker could be started, in {place.failures} tries: worker {place} {reason}"
            text += f"\nIts last words:{said}" if said else "\nIt wrote nothing."
            self._give_up(f"{text}\n{hint}" if hint else text)

    def _give_up(self, text: str) -> None:
        self.first_ready.set_exception(StartFailed(text))

    # -- what can be asked -------------------------------------------------------------------------------------

    def served(self, place: Place) -> int:
        """Requests that a place has served, through all its processes."""
        stats = self.proxy.stats.workers.get(str(place))
        return stats.requests if stats is not None else 0

    @property
    def changing(self) -> bool:
        """Some workers are not in service, or about to leave it."""
        return bool(self.closing) or self.starting

    @property
    def starting(self) -> bool:
        """Some workers that there should be are not in service."""
        return not all(place.in_service for place in self.places)

    @property
    def count(self) -> int:
        """How many workers there should be."""
        return len(self.places)

    def described(self) -> str:
        """`4 workers`."""
        return counted(self.least, "worker") if self.least == self.most else f"{self.least} to {self.most} workers"

    def origin(self) -> Origin:
        """We have started them."""
        return Origin()

    def drop(self, worker: str, who: str) -> str:
        """See Fleet."""
        raise Refused("a worker that Faucet has started is not dropped, but restarted or killed")

    def retry(self, worker: str, who: str) -> str:
        """See Fleet."""
        raise Refused("`restart` starts a worker at once that waits for its next try")

    def rows(self) -> list[WorkerRow]:
        """All workers, in order, and what else lives in their places."""
        return [row for place in self._all_places for row in place_rows(place, self.proxy)]

    def notice(self) -> str:
        """How far a rolling restart is."""
        roll = self.rolling
        return f"rolling restart: {roll.done} of {roll.total}, worker {roll.current}" if roll else ""

    def details(self, worker: str) -> dict[str, Any]:
        """Everything there is to know about one."""
        return place_details(self._find(worker, even_closing=True), self.proxy)

    def restart(self, worker: str, who: str) -> str:
        """Replace a process by one that is ready first; `all`: all of them, side by side."""
        if worker == "all":
            chosen = [place for place in self.places if not place.being_replaced]
            if not chosen:
                raise Refused("all workers are being replaced already")
            return "; ".join(self._restart(place, who) for place in chosen)
        place = self._find(worker)
        if place.being_replaced:
            raise Refused(f"worker {place} is being replaced already")
        return self._restart(place, who)

    def _restart(self, place: Place, who: str) -> str:
        self._refuse_if_ending()
        place.log.info("restart asked by %s", who)
        self._overseer.code_changed()
        life = place.life
        self.act(self.replace(place, f"restarted by {who}"), f"restart of worker {place}")
        if life is None or life.backend is None:
            return f"worker {place} is started at once"
        if life.holder is not None:
            return f"worker {place} finishes the request it has in hand, once its replacement is ready"
        return f"worker {place} is replaced as soon as another is ready"

    async def replace(self, place: Place, why: str) -> bool:
        """Replace the process in `place`, and wait for it. Whether that succeeded; if not, the log says why."""
        try:
            await place.replace(why)
        except ReplaceError as error:
            place.log.error("not replaced: the replacement %s", error)
            return False
        return True

    def act(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Do something that is waited for at the end."""
        task = tasks.start(coroutine, name)
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)
        return task

    @property
    def ending(self) -> bool:
        """Nothing new is begun any more."""
        return self.stopping or self.proxy.draining

    def prepare_to_end(self) -> None:
        """Ask no worker how it is any more, and replace none: the service ends."""
        self._overseer.stop()

    def _refuse_if_ending(self) -> None:
        if self.ending:
            raise Refused("the service is ending")

    def roll(self, who: str) -> tuple[str, asyncio.Future[str]]:
        """Replace all workers, one after the other, each by one that is ready first."""
        self._refuse_if_ending()
        if self.rolling is not None:
            raise Refused("a rolling restart is under way already")
        _log.info("rolling restart of %d workers, asked by %s", len(self.places), who)
        self._overseer.code_changed()
        roll = self.rolling = Roll(len(self.places), asyncio.get_running_loop().create_future())
        self.act(self._roll(roll, f"rolling restart by {who}"), "rolling restart")
        return f"{roll.total} workers are replaced, one after the other", roll.result

    def roll_anew(self, why: str) -> None:
        """Roll with what is there now. One that is under way may have begun before that: then another follows it."""
        if self.rolling is not None:
            self._next_roll = why
            return
        try:
            self.roll(why)
        except Refused as error:
            _log.warning("no rolling restart for %s: %s", why, error)

    async def _roll(self, roll: Roll, why: str) -> None:
        try:
            places, size = list(self.places), self.settings.roll_batch
            for batch in (places[start : start + size] for start in range(0, len(places), size)):
                roll.current = ", ".join(map(str, batch))
                await self._replace_all(batch, why)
                if self.stopping:
                    roll.end(Refused(f"rolling restart: the service ended when {roll.done} workers were replaced"))
                    return
                roll.done += len(batch)
            text = f"rolling restart: all {roll.done} workers are replaced"
            _log.info("%s", text)
            roll.end(text)
        except ReplaceError as error:
            text = f"rolling restart stopped at worker {roll.current}; the old workers stay. The replacement {error}"
            _log.error("%s", text)
            roll.end(Refused(text))
        finally:
            self.rolling = None
            if not roll.result.done():
                roll.end(Refused("rolling restart: it was broken off; the log says why"))
            why, self._next_roll = self._next_roll, ""
            if why and not self.ending:
                self.roll_anew(why)

    async def _replace_all(self, batch: list[Place], why: str) -> None:
        """Raises ReplaceError, once none of them is under way any more."""
        wanted = [place for place in batch if place in self.places and not self.stopping]  # else scaled away meanwhile
        results = await asyncio.gather(*(place.replace(why) for place in wanted), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    def scale(self, count: int, who: str) -> str:
        """Have `count` workers. Those that are too many finish what they have in hand."""
        self._refuse_if_ending()
        if not 1 <= count <= MOST_WORKERS:
            raise Refused(f"there have to be between 1 and {MOST_WORKERS} workers")
        before = len(self.places)
        if count == before:
            return f"there are {count} workers already"
        _log.info("scaled from %d to %d workers, asked by %s", before, count, who)
        while len(self.places) < count:
            self._add_place()
        for place in self.places[count:]:
            self.closing.append(place)
            self.act(self._close(place, f"scaled down by {who}"), f"end of worker {place}")
        del self.places[count:]
        return f"{count} workers, {before} before"

    def _add_place(self) -> None:
        taken = {place.number for place in self._all_places}
        place = Place(min(set(range(1, len(taken) + 2)) - taken), self)
        self.places.append(place)
        self.places.sort(key=lambda place: place.number)
        self._start(place)

    async def _close(self, place: Place, why: str) -> None:
        await place.close(why)
        await asyncio.wait([self._tasks[place]])
        self._tasks.pop(place, None)
        self.closing.remove(place)
        self.proxy.stats.forget(str(place))

    def hold(self, worker: str, who: str) -> str:
        """Give a worker no more requests, and keep its process."""
        place = self._find(worker)
        if not place.held:
            place.log.info("held by %s", who)
            place.hold()
        return f"worker {place} gets no more requests until it is resumed; its process is kept"

    def resume(self, worker: str, who: str) -> str:
        """Undo hold."""
        place = self._find(worker)
        if not place.held:
            raise Refused(f"worker {place} is not held")
        place.log.info("resumed by %s", who)
        place.resume()
        return f"worker {place} serves again"

    def kill(self, worker: str, who: str) -> str:
        """SIGKILL to the process, whatever it does; `3-`: to what leaves place 3, `3+`: to what comes."""
        place = self._find(worker, even_closing=True)
        chosen: dict[str, list[Life | None]] = {"-": [*place.leaving], "+": [place.successor]}
        lives = chosen.get(worker[-1:], [place.life])
        alive = [life for life in lives if life and life.process and not life.process.exited.done()]
        if not alive:
            raise Refused(f"worker {worker} has no process now")
        for life in alive:
            place.log.warning("killed by %s", who)
            life.kill(f"killed by {who}")
        again = "" if place.stopping or worker[-1] in "+-" else ", and started again"
        pids = ", ".join(str(life.process.pid) for life in alive if life.process)
        return f"worker {worker} (pid {pids}) is killed{again}"

    def _find(self, worker: str, even_closing: bool = False) -> Place:
        name = worker.rstrip("+-")
        for place in self.places:
            if str(place) == name:
                return place
        for place in self.closing:
            if str(place) == name:
                if even_closing:
                    return place
                raise Refused(f"worker {name} is going: it was scaled away")
        numbers = ", ".join(str(place) for place in self.places)
        raise Refused(f"there is no worker {name}; there are {numbers}")
