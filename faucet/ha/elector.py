"""Drives one member's election: calls the API, runs the timer, and passes decisions on.

The clock is read after an answer has arrived, and before the resulting data is sent. The rules depend on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from faucet import tasks
from faucet.ha import clock
from faucet.ha.decisions import Began, Call, Decision, Ended, Read, Write
from faucet.ha.lease_client import LeaseClient, NotStored, why_failed
from faucet.ha.member import Member

_log = logging.getLogger("faucet")

LONGEST_PAUSE = 60.0
"""Longest sleep, in seconds. Timers use a clock that stops while the machine is suspended; terms do not."""

AFTER_BUG = 1.0


class Elector:
    """Runs `member` on the Lease. `on_decision(decision)` gets Began, Ended, AskAll and Reply, in order.

    `after_event()` is called after each event, when its decisions have been carried out.
    """

    def __init__(
        self, member: Member, lease: LeaseClient, on_decision: Callable[[Decision], None],
        after_event: Callable[[], None] = lambda: None, now: Callable[[], float] = clock.now,
    ) -> None:  # fmt: skip
        self.member = member
        self.trouble = ""
        """Why the last call to the API failed; empty if it succeeded."""
        self.renewals = 0
        """Number of stored writes."""
        self._lease = lease
        self._on_decision = on_decision
        self._after_event = after_event
        self._now = now
        self._stopped = False
        self._wake = asyncio.Event()
        self._released = asyncio.Event()
        self._calling: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to take part in the election."""
        self._running = tasks.start(self._run(), f"election for Lease {self._lease}")

    async def stop(self) -> None:
        """Stop taking part. The Lease stays as it is; use `release` to release it."""
        self._stopped = True
        for task in (self._running, self._calling):
            if task is not None:
                await tasks.end(task)

    def event(self, happened: Callable[[float], list[Decision]]) -> None:
        """Report an event to the member: call `happened(now)`, and carry out its decisions.

        Does nothing after `stop`.
        """
        if self._stopped:
            return
        self._do(happened(self._now()))
        self._after_event()
        self._wake.set()

    async def release(self, why: str) -> None:
        """Release the Lease. Return when that is stored, another member has it, or the renew deadline has passed."""
        self._released.clear()
        self.event(lambda now: self.member.release(now, why))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.member.election.timing.renew_deadline):
                await self._released.wait()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = self._tick()
            except Exception:  # a bug must not end the election permanently, and with it the service
                _log.exception("the election for Lease %s failed unexpectedly; it goes on", self._lease)
                pause = AFTER_BUG
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _tick(self) -> float:
        """Carry out the decisions that are due. Return the seconds until the next call."""
        now = self._now()
        self._do(self.member.election.tick(now))
        self._after_event()
        wake_at = min(self.member.election.wake_at(), self.member.wake_at(now))
        return min(max(wake_at - self._now(), 0.0), LONGEST_PAUSE)

    def _do(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            self.member.follow(decision, self._now())
            if isinstance(decision, Read | Write):
                self._calling = tasks.start(self._call(decision), f"call for Lease {self._lease}")
            else:
                self._tell(decision)
        if not self.member.election.is_releasing:
            self._released.set()

    def _tell(self, decision: Decision) -> None:
        if isinstance(decision, Began):
            _log.info("this Faucet is the active now (epoch %d)", decision.epoch)
        elif isinstance(decision, Ended):
            _log.info("this Faucet is no longer the active: %s", decision.why)
        self._on_decision(decision)

    async def _call(self, call: Call) -> None:
        """Make a call, and report its outcome to the election, whatever the error."""
        election = self.member.election
        outcome: Callable[[float], list[Decision]]
        try:
            async with asyncio.timeout(election.timing.call_timeout):
                outcome = await self._outcome(call)
            self._well()
        except Exception as error:  # without a report, the election would stop
            outcome = election.call_failed
            self._ill(error)
        self._calling = None
        self.event(outcome)

    async def _outcome(self, call: Call) -> Callable[[float], list[Decision]]:
        election = self.member.election
        if isinstance(call, Read):
            lease = await self._lease.read()
            return lambda now: election.was_read(now, lease)
        try:
            version = await self._lease.write(call.record, call.version)
        except NotStored:
            return election.was_refused
        self.renewals += 1
        return lambda now: election.was_written(now, version)

    def _well(self) -> None:
        if self.trouble:
            _log.info("Lease %s: the API answers again", self._lease)
        self.trouble = ""

    def _ill(self, error: Exception) -> None:
        trouble = why_failed(error, self._lease)
        if trouble != self.trouble:
            _log.warning("Lease %s: %s", self._lease, trouble)
        self.trouble = trouble
