"""A numbered place for a worker: there is a process in it, or there soon will be again.

One task looks after one place and tells its story from top to bottom (`live`). A process that ends is followed by
another: at once the first time, then after longer and longer pauses; one that is replaced leaves only after the other
is ready (`replace`), so that no request waits for it. Once a place is given up, nothing is started in it any more.
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
from faucet.workers.advice import advice
from faucet.workers.life import Life, State

if TYPE_CHECKING:
    from faucet.workers.local import LocalWorkers

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


class PlaceLog(logging.LoggerAdapter[logging.Logger]):
    """Names the worker at the start of the text, for people, and apart, for programs."""

    def process(self, msg: str, kwargs: Any) -> tuple[str, Any]:
        """Called by logging."""
        assert self.extra is not None
        return f"worker {self.extra['worker']}: {msg}", {**kwargs, "extra": self.extra}


class Place:
    """Place number `number`, from 1."""

    def __init__(self, number: int, pool: LocalWorkers) -> None:
        self.number = number
        self.pool = pool
        self.log = PlaceLog(_log, {"worker": str(number)})
        self.life: Life | None = None
        """The process that serves, or is about to."""
        self.successor: Life | None = None
        """Being started to take over from it."""
        self.leaving: list[Life] = []
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
    def lives(self) -> list[Life]:
        """All its processes."""
        return [life for life in (self.life, self.successor, *self.leaving) if life is not None]

    @property
    def in_service(self) -> bool:
        """There is a process in it that gets requests, or would."""
        return self.life is not None and self.life.in_service

    # -- the ordinary course -----------------------------------------------------------------------------------

    async def live(self) -> None:
        """Start, serve, start again, until stopped."""
        while not self.stopping:
            try:
                await self._one_life()
                if not self.stopping:
                    self._count_restart(self._last_ending)
                    await self._back_off()
            except Exception:  # a bug of ours must not leave the place empty for ever
                self.log.exception("its start failed in an unforeseen way")
                self.life = None
                self.failures += 1
                await self._sleep(BACKOFF.pause(self.failures))
        await self._gone()

    async def _one_life(self) -> None:
        self._decided.clear()
        life = self.life = Life(self)
        if await life.start():
            self._started(life)
            self._decided.set()
            await self._until(self._is_vacant)
            self._judge()
        else:
            self._failed_to_start(life)
            self._decided.set()

    def _is_vacant(self) -> bool:
        """The process in service is over, and no successor is about to take over."""
        return self.successor is None and (self.life is None or self.life.state is State.OVER)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _gone(self) -> None:
        """Wait for those that leave."""
        self._decided.set()
        await self._until(lambda: not self.lives)

    def _started(self, life: Life) -> None:
        self.failed_starts = 0
        self.failed = False
        life.enter_service()
        self.pool.became_ready()

    def life_over(self, life: Life) -> None:
        """A process that was in service has ended."""
        self._remember_end(life)
        if life in self.leaving:
            self.leaving.remove(life)
            self._tell_end(logging.INFO, life)
        self._changed.set()

    def _tell_end(self, level: int, life: Life) -> None:
        """A sentence: `worker 1 crashed (SIGSEGV) while serving …`."""
        _log.log(level, "worker %s %s", self, life.outcome, extra=self.log.extra)

    def _remember_end(self, life: Life) -> None:
        if life.process is not None:
            self.exits.append(life.outcome)
            self._last_ending = life.ending
            self.last_lines = list(life.process.last_lines)

    def _judge(self) -> None:
        """The process ended in service, and nobody had asked for that."""
        life, self.life = self.life, None
        assert life is not None
        if monotonic() - life.began >= HEALTHY_AFTER:
            self.failures = 0
        self.failures += 1
        if not self.stopping:
            self._tell_end(logging.WARNING, life)

    def _failed_to_start(self, life: Life) -> None:
        self.life = None
        if not life.failure or self.stopping:
            return
        self._remember_end(life)
        self.failures += 1
        self.failed_starts += 1
        self.log.warning("%s", life.failure)
        if self.failed_starts >= self.pool.settings.max_restarts and not self.failed:
            self.failed = True
            self.log.error("failed to start %d times in a row; from now on it is tried once a minute",
                           self.failed_starts)  # fmt: skip
        self.pool.start_failed(self, life.failure, self.last_lines, advice(self.last_lines, self.pool.entry))

    async def _back_off(self) -> None:
        """At once the first time, then longer and longer."""
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
        the place is given up, nothing is done. Raises ReplaceError, and the old one goes on.
        """
        asked = monotonic()
        # Whoever has waited looks at everything again: others that waited for the same may have been first.
        while not self.stopping and not (self.in_service and self.life is not None and self.life.began >= asked):
            if self.being_replaced:
                await self._replaced.wait()
            elif self.life is None:
                self._decided.clear()
                self.try_now()
                await self._decided.wait()
                self._complain_unless_started()
            elif self.life.backend is None:
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
        if not self.stopping and (self.life is None or self.life.backend is None):
            raise ReplaceError(self.exits[-1] if self.exits else "could not be started")

    async def _succeed(self, why: str) -> None:
        successor = self.successor = Life(self)
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

    async def _take_over(self, successor: Life, why: str) -> None:
        predecessor, self.life = self.life, successor
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
        if self.life is not None and self.life.backend is not None:
            self.pool.proxy.hold(self.life.backend)

    def resume(self) -> None:
        """Undo hold."""
        self.held = False
        if self.life is not None and self.life.backend is not None and self.life.in_service:
            self.pool.proxy.resume(self.life.backend)

    def give_up(self) -> None:
        """Nothing more is started here."""
        self.stopping = True
        self._awake.set()
        if self.successor is not None:
            self.successor.stop_starting()

    async def close(self, why: str) -> None:
        """Give it up; the process in service finishes what it has in hand."""
        self.give_up()
        if self.life is not None and self.life.in_service:
            await self.life.retire(why)
        elif self.life is not None:
            await self.life.end(0)

    async def end(self, grace: float) -> None:
        """Give it up, and end all its processes; SIGKILL after `grace` seconds."""
        self.give_up()
        await asyncio.gather(*(life.end(grace) for life in self.lives))


def _with_last_words(life: Life) -> str:
    """Why it did not become ready, and what it said last: R tells there what is wrong."""
    reason = life.failure or "was not ready: its port was taken by somebody else"
    lines = list(life.process.last_lines)[-WORDS_SHOWN:] if life.process is not None else []
    return "\n  | ".join([reason, *lines])
