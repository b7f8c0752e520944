"""Which member is the active: one member's part in the election, with events as input and decisions as output.

The Lease changes only by compare-and-swap. The holder may grant for the renew deadline after *sending* a write that is
stored. Another member takes the Lease when it has *itself* seen the Lease unchanged for the lease duration, which is
longer, or when the holder has stopped: it released the Lease, said so, or its process in the same pod died.

Each event has the reading `now` of a clock that also runs while the machine is suspended. It must be read after the
reported data was received, and before the resulting data is sent. One call to the API is in progress at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import NamedTuple

from faucet.ha.decisions import AskAll, Began, Call, Decision, Ended, Read, Reply, Write
from faucet.ha.messages import Ask, Promise, Refusal, Stopped
from faucet.ha.promises import Promises
from faucet.ha.record import Identity, Lease, Record
from faucet.ha.term import Term
from faucet.ha.timing import Timing

JITTER = 0.2
"""Share by which a pause varies at random, so that members do not call the API at the same time."""

RETRY = 0.25
"""Share of Timing.renew_every after which a failed call is repeated, and a Lease without holder is read again."""

SOON, SLOWER = 0.05, 1.5
"""Share of Timing.renew_every after which the Lease is read if it is about to change; the factor by which this pause
grows with each read, up to the usual one."""

FIRST_PATIENCE = 1.5
"""Lease durations for which a member that has never seen a Lease waits for one: members that have seen it go first,
since they know its epoch. It cannot know of a holder that lives on promises while someone deletes its Lease."""


MISSED = 1000
"""Added to the epoch where the Lease does not tell it: this member may have missed some that others remember."""


class _Seen(NamedTuple):
    """The Lease as this member knows it; `record` None: there is none."""

    record: Record | None
    version: str
    at: float
    """When this version was first seen."""


class _UnderWay(NamedTuple):
    call: Call
    sent_at: float


class _Attempt(NamedTuple):
    """A write that takes the Lease, while it is unknown whether the write is stored, or will be."""

    record: Record
    version: str
    """The version of the Lease that the write replaces."""
    sent_at: float
    previous: Record | None


class _Asked(NamedTuple):
    ask: Ask
    at: float


class Election:
    """The election of one member. Update `members`, `unreachable` and `quarantine`, and call `tick` at `wake_at`."""

    def __init__(
        self, me: Identity, timing: Timing, *, address: str = "", token: str = "", serve_partitioned: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self.me = me
        self.timing = timing
        self.term: Term | None = None
        self.epoch = 0
        """The highest epoch that this member has heard of."""
        self.members: dict[str, str] = {}
        """The key and address of each other member that is connected, or was until recently. The active's next renewal
        lists them; `renew_soon` makes that renewal due now."""
        self.unreachable: set[str] = set()
        """The keys of members that are not connected."""
        self.quarantine = 0.0
        """The figure for the Lease: see quarantine.quarantine_seconds."""
        self.seen: _Seen | None = None
        self.last_answer: float | None = None
        """When the API last answered."""
        self.address = address
        """Where this member listens for others."""
        self.token = token
        """The token that other members present there."""
        self._serve_partitioned = serve_partitioned
        self._chance = chance
        self._call: _UnderWay | None = None
        self._next_call = -inf
        self._soon = inf  # share of Timing.renew_every until the next read, while the Lease is about to change
        self._call_failed = False  # whether the last call failed
        self._must_read = True  # a read must precede the next write
        self._attempt: _Attempt | None = None
        self._promises = Promises(me.key, ())
        self._next_ask = -inf
        self._asked: _Asked | None = None
        self._promised_until = -inf
        self._stopped: set[tuple[str, int]] = set()  # holders and epochs that have stopped granting
        self._releasing: Stopped | None = None
        self._yield_until = -inf
        self._leaving = False
        self._held: Record | None = None  # the last record with a holder, or that of its release

    @property
    def named(self) -> Record | None:
        """The Lease as it was last seen. If it has been deleted, as it was before: its holder creates it again."""
        record = self.seen.record if self.seen is not None else None
        return record if record is not None else self._held

    @property
    def is_active(self) -> bool:
        """Whether this member holds the Lease, to its knowledge."""
        return self.term is not None

    @property
    def is_releasing(self) -> bool:
        """Whether the release of the Lease by this member is not written yet."""
        return self._releasing is not None

    def may_grant(self, now: float) -> bool:
        """Return whether this member may grant a pod now. `now` must have been read just before."""
        return self.term is not None and self.term.allows(now)

    # -- time --------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Decision]:
        """Return the decisions that are due."""
        decisions = self._end_if_over(now)
        if self._asked is not None and self._is_silent(now):
            decisions += self._promise(now, self._asked)
        if self.term is not None:
            decisions += self._ask_if_silent(now)
        if self._call is None and (now >= self._next_call or self._asked is not None):
            decisions.append(self._begin(now, self._next(now)))
        return decisions

    def wake_at(self) -> float:
        """Return when `tick` must be called at the latest."""
        times = [self._next_call if self._call is None else inf]
        if self._asked is not None:
            times.append(self._silent_from())
        if self.term is not None:
            times += [self.term.until, max(self._next_ask, self._silent_from())]
        return min(times)

    def _silent_from(self) -> float:
        if self._call_failed:
            return -inf
        return self._call.sent_at + self.timing.silent_after if self._call is not None else inf

    def _is_silent(self, now: float) -> bool:
        """Return whether the API does not answer: the last call failed, or the current one takes too long."""
        return now >= self._silent_from()

    def _end_if_over(self, now: float) -> list[Decision]:
        if self.term is None or self.term.allows(now):
            return []
        return self._end(now, "the Lease could not be renewed in time")

    def _end(self, now: float, why: str) -> list[Decision]:
        """Stop granting for the rest of this epoch, so that the Lease need not expire before it is taken again."""
        assert self.term is not None
        epoch, self.term = self.term.epoch, None
        self._stopped.add((str(self.me), epoch))
        self._next_call = now
        return [Ended(epoch, why)]

    # -- calls to the API --------------------------------------------------------------------------------------

    def _begin(self, now: float, call: Call) -> Call:
        self._call = _UnderWay(call, now)
        if isinstance(call, Write):
            if self._takes(call.record) and self.term is None:
                self._attempt = self._attempt_at(call, now)
            elif self.term is not None:
                self._promises.wrote(call.record.members)
        return call

    def _takes(self, record: Record) -> bool:
        return record.holder == str(self.me)

    def _attempt_at(self, call: Write, now: float) -> _Attempt:
        """Return the attempt of a write. An earlier attempt at the same version may have taken the Lease: then the term
        counts from that one."""
        last = self._attempt
        sent_at = last.sent_at if last is not None and last.version == call.version else now
        return _Attempt(call.record, call.version, sent_at, self.seen.record if self.seen is not None else None)

    def _next(self, now: float) -> Call:
        """Return the call that is due."""
        seen = self.seen
        if seen is None or self._must_read or self._asked is not None:
            return Read()
        if self._releasing is not None:
            return self._release_of(seen, self._releasing)
        if self.term is not None:
            return Write(self._renewed(now, self.term, seen.record), seen.version)
        return Write(self._taken(seen.record), seen.version) if now >= self._stand_at(seen) else Read()

    def _renewed(self, now: float, term: Term, record: Record | None) -> Record:
        return Record(
            holder=str(self.me), epoch=term.epoch, beat=record.beat + 1 if record is not None else 0,
            lease_duration=self.timing.lease_duration, outage_limit=self.timing.outage_limit,
            members={**self.members, self.me.key: self.address}, quarantine=self.quarantine,
            address=self.address, token=self.token,
        )  # fmt: skip

    def _taken(self, record: Record | None) -> Record:
        """Return the record with which this member takes the Lease. Listed members stay listed: they may stand too."""
        epoch = (record.epoch if record is not None else 0) + 1
        if epoch <= self.epoch:
            epoch = self.epoch + MISSED
        quarantine = max(record.quarantine or 0.0, self.quarantine) if record is not None else self.quarantine
        return Record(
            holder=str(self.me), epoch=epoch, beat=record.beat + 1 if record is not None else 0,
            lease_duration=self.timing.lease_duration, outage_limit=self.timing.outage_limit,
            members={**(record.members if record is not None else {}), self.me.key: self.address},
            quarantine=quarantine, address=self.address, token=self.token,
        )  # fmt: skip

    def _release_of(self, seen: _Seen, stopped: Stopped) -> Call:
        record = seen.record
        if record is None or (record.holder, record.epoch) != (stopped.holder, stopped.epoch):
            self._releasing = None
            return Read()
        released = replace(
            record, holder="", released_by=stopped.holder, beat=record.beat + 1, busy=stopped.busy,
            unknown_for=stopped.unknown_for, address="", token="",
        )  # fmt: skip
        return Write(released, seen.version)

    # -- outcomes of calls -------------------------------------------------------------------------------------

    def was_read(self, now: float, lease: Lease | None) -> list[Decision]:
        """Process the API's answer to Read. A `lease` of None means that there is no Lease."""
        self._answered(now)
        self._must_read = False
        record, version = (lease.record, lease.version) if lease is not None else (None, "")
        if self.seen is None or version != self.seen.version:
            self.seen = _Seen(record, version, now)
        if record is not None and (record.holder or record.released_by) != str(self.me):
            self._yield_until = -inf  # another has had its turn
        if record is not None and (record.holder or record.released_by):
            self._held = record
        decisions: list[Decision] = []
        if record is not None:
            decisions += self.heard(now, record.epoch)
        decisions += self._settle_attempt(now, record, version)
        if self.term is not None and record is not None and not self._is_mine(record, self.term.epoch):
            decisions += self._end(now, f"{record.holder_key or 'no Faucet'} holds the Lease")
        if self._asked is not None:
            decisions.append(self._refuse(self._asked.ask))
        self._next_call = self._after_read(now)
        return decisions

    def _is_mine(self, record: Record, epoch: int) -> bool:
        return record.holder == str(self.me) and record.epoch == epoch

    def _after_read(self, now: float) -> float:
        """Return when the next call is due."""
        if self.term is not None or self._releasing is not None:
            return now
        assert self.seen is not None
        stand, read = self._stand_at(self.seen), now + self._pause()
        return read if read < stand else max(now, stand)

    def _settle_attempt(self, now: float, record: Record | None, version: str) -> list[Decision]:
        attempt = self._attempt
        if attempt is None or version == attempt.version:
            return []
        self._attempt = None  # the attempt is stored, or can no longer be stored
        if record is not None and self._is_mine(record, attempt.record.epoch):
            return self._win(attempt)
        return []

    def was_written(self, now: float, version: str) -> list[Decision]:
        """Process a stored Write. `version` is the new version of the Lease."""
        call, sent_at = self._answered(now)
        assert isinstance(call, Write)
        self.seen, self._held = _Seen(call.record, version, now), call.record
        self._next_call = now if self._releasing is not None else now + self._pause()
        if self.term is not None:
            return self._was_renewed(now, call, sent_at, self.term)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            return self._win(attempt._replace(sent_at=sent_at))
        if call.record.released_by:
            self._releasing = None
        return []

    def _was_renewed(self, now: float, call: Write, sent_at: float, term: Term) -> list[Decision]:
        if not call.version and not term.allows(now):
            # Whoever saw that there was none may have created one since, and it may be deleted as well.
            return self._end(now, "the Lease was deleted, and could not be created again in time")
        term.acknowledged(sent_at)
        self._promises.acknowledged(call.record.members)
        return []

    def was_refused(self, now: float) -> list[Decision]:
        """Process a Write that was not stored: the Lease has another version, already exists, or does not exist.

        An earlier attempt may be the reason; the next read shows it.
        """
        self._answered(now)
        self._must_read = True
        self._next_call = now
        return []

    def call_failed(self, now: float) -> list[Decision]:
        """Process a call without a conclusive answer. A write may still be stored, now or later."""
        self._call = None
        self._call_failed = self._must_read = True
        self._next_call = now + self._spread(self.timing.renew_every * RETRY)
        return self._promise(now, self._asked) if self._asked is not None else []

    def _answered(self, now: float) -> _UnderWay:
        assert self._call is not None
        answered, self._call = self._call, None
        self._call_failed = False
        self.last_answer = now
        return answered

    def _pause(self) -> float:
        record = self.seen.record if self.seen is not None else None
        vacant = self.term is None and (record is None or not record.holder)
        share = RETRY if vacant else 1.0
        if self._soon < share and self.term is None:
            share, self._soon = self._soon, self._soon * SLOWER
        return self._spread(self.timing.renew_every * share)

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + JITTER * (2 * self._chance() - 1))

    # -- taking the Lease --------------------------------------------------------------------------------------

    def _stand_at(self, seen: _Seen) -> float:
        """Return the earliest time at which this member may try to take the Lease."""
        record = seen.record
        if self._leaving:
            return inf
        if record is not None and self._is_free(record):
            return self._yield_until
        return max(seen.at + self._patience(record), self._promised_until, self._yield_until)

    def _is_free(self, record: Record) -> bool:
        """Return whether the holder has certainly stopped. An empty holder is no proof: it may be a manual edit."""
        if record.released_by or (record.holder, record.epoch) in self._stopped:
            return True
        holder = Identity.parse(record.holder)
        return holder is not None and self.me.restarted(holder)

    def _patience(self, record: Record | None) -> float:
        """Return the seconds for which the Lease must be unchanged, or missing, before it may be taken."""
        if record is not None and record.holder:
            return self._wait_for(record)
        # The Lease was deleted. Its holder may still rely on promises, without having noticed the deletion.
        if self._held is not None:
            return self._wait_for(self._held)
        return self.timing.lease_duration * FIRST_PATIENCE

    def _wait_for(self, record: Record) -> float:
        """Return the same for a Lease with a holder. The holder does not ask unknown members for promises, so those
        wait until promises can no longer be valid."""
        if self.me.key in record.members:
            return record.lease_duration
        return record.lease_duration + record.outage_limit * self.timing.drift

    def _win(self, attempt: _Attempt) -> list[Decision]:
        """Begin the term after this member took the Lease, unless it has heard of a later epoch in the meantime."""
        if self.epoch > attempt.record.epoch:
            return []
        self.epoch = attempt.record.epoch
        self.term = Term(self.epoch, self.timing, attempt.sent_at)
        self._promises = Promises(self.me.key, attempt.record.members)
        self._next_ask = -inf
        return [Began(self.epoch, attempt.previous)]

    # -- messages from others ----------------------------------------------------------------------------------

    def heard(self, now: float, epoch: int) -> list[Decision]:
        """Process the epoch of a message or of the Lease. The active of an earlier epoch has lost the Lease."""
        self.epoch = max(self.epoch, epoch)
        if self.term is not None and self.term.epoch < self.epoch:
            self._must_read = True
            return self._end(now, f"there is an active of epoch {self.epoch}")
        return []

    def stopped(self, now: float, message: Stopped) -> list[Decision]:
        """Process a holder's message that it has stopped granting: its Lease may be taken immediately."""
        decisions = self.heard(now, message.epoch)
        self._stopped.add((message.holder, message.epoch))
        if self.term is None:
            self._must_read = True
            self._next_call = now
        return decisions

    def asked(self, now: float, ask: Ask) -> list[Decision]:
        """Process a request for a promise. The API is tried first: if it answers, this member does not promise."""
        decisions = self.heard(now, ask.epoch)
        if ask.epoch < self.epoch or self.term is not None:
            return [*decisions, self._refuse(ask)]
        self._asked = _Asked(ask, now)
        return decisions + self.tick(now)

    def _promise(self, now: float, asked: _Asked) -> list[Decision]:
        self._asked = None
        ask = asked.ask
        if ask.epoch < self.epoch:
            return [self._refuse(ask)]
        self._promised_until = max(self._promised_until, now + ask.seconds)
        return [Reply(Promise(self.epoch, ask.round, self.me.key))]

    def _refuse(self, ask: Ask) -> Reply:
        self._asked = None
        return Reply(Refusal(self.epoch, ask.round, self.me.key))

    # -- asking the others -------------------------------------------------------------------------------------

    def _ask_if_silent(self, now: float) -> list[Decision]:
        if self.term is None or now < self._next_ask or not self._is_silent(now):
            return []
        self._next_ask = now + self.timing.renew_every
        excused = self.unreachable if self._serve_partitioned else ()
        number = self._promises.begin(now, excused)
        self._count(self._promises.complete(number))  # it is, where no other member is needed
        return [AskAll(Ask(self.term.epoch, number, self.timing.lease_duration))]

    def promised(self, now: float, message: Promise) -> list[Decision]:
        """Process a member's promise not to stand. It does not revive an expired term, since another member may have
        taken the Lease."""
        decisions = self.heard(now, message.epoch) + self._end_if_over(now)
        if self.term is not None and message.epoch == self.term.epoch:
            self._count(self._promises.promised(message.round, message.key))
        return decisions

    def refused(self, now: float, message: Refusal) -> list[Decision]:
        """Process a refused promise: its round stays incomplete. The member may know of a later epoch."""
        return self.heard(now, message.epoch)

    def _count(self, asked_at: float | None) -> None:
        """Extend the term if a round of promises, asked at `asked_at`, is complete."""
        if asked_at is not None and self.term is not None:
            self.term.promised(asked_at)

    # -- releasing the Lease -----------------------------------------------------------------------------------

    def release(self, now: float, busy: Iterable[str], unknown_for: float, why: str) -> list[Decision]:
        """Release the Lease with a list of the busy pods, and do not stand for it for a while."""
        if self.term is None:
            return []
        self._releasing = Stopped(self.term.epoch, str(self.me), frozenset(busy), unknown_for)
        self._yield_until = now + 2 * self.timing.renew_every
        return [*self._end(now, why), *self.tick(now)]

    def leave(self) -> None:
        """Never stand for the Lease again, because this member is stopping."""
        self._leaving = True

    def look_soon(self, now: float) -> list[Decision]:
        """Read the Lease soon, and then at growing intervals, because it is about to change."""
        if self.term is None:
            self._soon = SOON
            self._next_call = min(self._next_call, now + self._pause())
        return self.tick(now)

    def renew_soon(self, now: float) -> list[Decision]:
        """Renew immediately, because the list of members has changed."""
        if self.term is not None:
            self._next_call = min(self._next_call, now)
        return self.tick(now)
