"""Rolling restarts: replace all workers, one batch after the other; each leaves when its replacement is ready."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from faucet.fleet import Refused
from faucet.units import counted
from faucet.workers.causes import Cause, Reason
from faucet.workers.pool import Pool
from faucet.workers.slot import ReplaceError, Slot

_log = logging.getLogger("faucet")


@dataclass(slots=True)
class Progress:
    """How far a rolling restart is."""

    total: int
    result: asyncio.Future[str]
    """What came of it, in a sentence; Refused if it was stopped."""
    began: float = field(default_factory=monotonic)
    done: int = 0
    current: str = ""
    """The workers whose replacements are being started; empty while that which they are forked from is."""

    def end(self, outcome: str | Refused) -> None:
        """Set the result."""
        if isinstance(outcome, Refused):
            self.result.set_exception(outcome)
            self.result.exception()  # often, nothing waits for it
        else:
            self.result.set_result(outcome)


class FailedRoll(NamedTuple):
    """A rolling restart that has failed. Moments are readings of the monotonic clock."""

    began: float
    when: float
    cause: str
    """`rolling restart by SIGHUP`"""
    error: ReplaceError


class RollingRestarts:
    """The rolling restarts of one pool, of at most `batch` workers at the same time; one after the other."""

    def __init__(self, pool: Pool, batch: int) -> None:
        self.progress: Progress | None = None
        """The progress of the current rolling restart; None if there is none."""
        self.begun = 0
        """Number of rolling restarts that have begun."""
        self.failed: FailedRoll | None = None
        """The latest rolling restart, if it has failed."""
        self._pool = pool
        self._batch = batch
        self._next = ""  # who has requested another one meanwhile

    def start(self, who: str) -> Progress:
        """Begin a rolling restart. Raises Refused if one is in progress."""
        if self.progress is not None:
            raise Refused("a rolling restart is already in progress")
        pool = self._pool
        _log.info("rolling restart of %s, requested by %s", counted(len(pool.slots), "worker"), who)
        self.begun += 1
        progress = self.progress = Progress(len(pool.slots), asyncio.get_running_loop().create_future())
        pool.act(self._run(progress, Cause(Reason.ROLLING_RESTART, f"rolling restart by {who}")), "rolling restart")
        return progress

    def follow(self, who: str) -> bool:
        """Request another one after the one in progress; return False if none is in progress."""
        if self.progress is not None:
            self._next = who
        return self.progress is not None

    def notice(self) -> str:
        """Return how far the one in progress is; empty if there is none."""
        progress = self.progress
        if progress is None:
            return ""
        current = f"worker {progress.current}" if progress.current else "a new template first"
        return f"rolling restart: {progress.done} of {progress.total}, {current}"

    async def _run(self, progress: Progress, cause: Cause) -> None:
        try:
            async with self._pool.renewed():
                outcome = await self._replace_all(progress, cause)
            if isinstance(outcome, str):
                _log.info("%s", outcome)
                self.failed = None
            progress.end(outcome)
        except ReplaceError as error:
            stopped = "rolling restart stopped"
            if progress.current:
                stopped = f"rolling restart stopped at worker {progress.current}"
            text = f"{stopped}: {error.in_a_line('; the old workers stay')}"
            _log.error("%s", text)
            self.failed = FailedRoll(progress.began, monotonic(), cause.text, error)
            progress.end(Refused("\n".join([text, *error.sentence.splitlines()[1:]])))
        finally:
            self.progress = None
            if not progress.result.done():
                progress.end(Refused("rolling restart: it failed; the log says why"))
            who, self._next = self._next, ""
            if who and not self._pool.ending:
                self._pool.reload(who)

    async def _replace_all(self, progress: Progress, cause: Cause) -> str | Refused:
        """Replace all workers, and return the result in words. Raises ReplaceError."""
        slots = list(self._pool.slots)
        for batch in (slots[start : start + self._batch] for start in range(0, len(slots), self._batch)):
            progress.current = ", ".join(map(str, batch))
            await self._replace(batch, cause)
            if self._pool.stopping:
                return Refused(f"rolling restart: the service ended when {progress.done} workers were replaced")
            progress.done += len(batch)
        all_of_them = "the worker is" if progress.done == 1 else f"all {progress.done} workers are"
        return f"rolling restart: {all_of_them} replaced"

    async def _replace(self, batch: list[Slot], cause: Cause) -> None:
        """Raises ReplaceError, once none of them is in progress any more."""
        pool = self._pool
        wanted = [slot for slot in batch if slot in pool.slots and not pool.stopping]  # else scaled away meanwhile
        results = await asyncio.gather(*(slot.replace(cause) for slot in wanted), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
