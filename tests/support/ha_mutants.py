"""Rules of faucet/ha broken on purpose, one at a time: the simulation has to find each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

import pytest

from faucet.ha import member as member_module
from faucet.ha.decisions import Decision
from faucet.ha.election import Election
from faucet.ha.member import Member
from faucet.ha.promises import Promises
from faucet.ha.quarantine import Quarantine
from faucet.ha.record import Lease, Record
from faucet.ha.term import Term
from tests.support.ha_forwarding import Forwarding
from tests.support.ha_modes import PLAIN, STRICT, Mode
from tests.support.ha_node import TIMING, Node
from tests.support.ha_world import Pod

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


class Mutant(NamedTuple):
    """`plant` breaks the rule; `faults` are those that show it soonest, None for any; it is a rule of that `mode`."""

    plant: Plant
    faults: tuple[str, ...] | None
    mode: Mode
    seed: int
    """One that showed it, when this was written."""


MUTANTS: dict[str, Mutant] = {}


def mutant(*faults: str, mode: Mode = PLAIN, seed: int = 0) -> Callable[[Plant], Plant]:
    """Register it under its name."""

    def register(plant: Plant) -> Plant:
        MUTANTS[plant.__name__] = Mutant(plant, faults or None, mode, seed)
        return plant

    return register


# -- terms -----------------------------------------------------------------------------------------------------


@mutant(seed=4)
def the_term_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(Term, "allows", lambda self, now: True)


@mutant("freeze", seed=8)
def the_term_is_not_looked_at_again_when_the_connection_is_open(patch: Patch) -> None:
    patch.setattr(Node, "look_again", lambda self, pod: True)


@mutant("late", "freeze", seed=21)
def a_term_counts_from_the_answer(patch: Patch) -> None:
    original = Election._answered

    def answered(self: Election, now: float) -> Any:
        return original(self, now)._replace(sent_at=now)

    patch.setattr(Election, "_answered", answered)


@mutant("late", seed=102)
def an_unanswered_attempt_counts_from_when_it_is_seen_stored(patch: Patch) -> None:
    original = Election._settle_attempt

    def settle(self: Election, now: float, record: Record | None, version: str) -> list[Decision]:
        if self._attempt is not None:
            self._attempt = self._attempt._replace(sent_at=now)
        return original(self, now, record, version)

    patch.setattr(Election, "_settle_attempt", settle)


@mutant(seed=23)
def the_lease_is_taken_as_soon_as_the_deadline_of_its_holder(patch: Patch) -> None:
    patch.setattr(Election, "_wait_for", lambda self, record: TIMING.renew_deadline)


@mutant(seed=4)
def the_lease_counts_as_unchanged_since_the_read_before(patch: Patch) -> None:
    original = Election.was_read

    def was_read(self: Election, now: float, lease: Lease | None) -> list[Decision]:
        before = self.last_answer
        decisions = original(self, now, lease)
        if before is not None and self.seen is not None and self.seen.at == now:
            self.seen = self.seen._replace(at=before)
        return decisions

    patch.setattr(Election, "was_read", was_read)


@mutant(seed=2)
def a_renewal_changes_nothing(patch: Patch) -> None:
    original = Election._renewed

    def renewed(self: Election, now: float, term: Term, record: Record | None) -> Record:
        return replace(original(self, now, term, record), beat=0)

    patch.setattr(Election, "_renewed", renewed)


@mutant(seed=2)
def no_lease_is_a_free_lease(patch: Patch) -> None:
    original = Election._stand_at

    def stand_at(self: Election, seen: Any) -> float:
        return -inf if seen.record is None else original(self, seen)

    patch.setattr(Election, "_stand_at", stand_at)


@mutant(seed=150)
def no_holder_is_a_free_lease(patch: Patch) -> None:
    original = Election._is_free
    patch.setattr(Election, "_is_free", lambda self, record: not record.holder or original(self, record))


@mutant(seed=0)
def the_own_pod_is_a_free_lease(patch: Patch) -> None:
    """Also where the holder is another pod's process."""
    original = Election._is_free
    patch.setattr(Election, "_is_free", lambda self, record: record.epoch > 3 or original(self, record))


# -- epochs ----------------------------------------------------------------------------------------------------


@mutant(seed=1)
def a_take_over_is_no_new_epoch(patch: Patch) -> None:
    original = Election._taken

    def taken(self: Election, record: Record | None) -> Record:
        return replace(original(self, record), epoch=max(record.epoch if record else 0, self.epoch, 1))

    patch.setattr(Election, "_taken", taken)


@mutant("crash", "handover", seed=46)
def what_an_earlier_active_says_counts_for_all(patch: Patch) -> None:
    """The epoch of Stopped is ignored."""
    original = Quarantine.stopped

    def stopped(self: Quarantine, now: float, message: Any, *, reports: bool) -> None:
        self._previous = (message.holder, message.epoch)
        original(self, now, message, reports=reports)

    patch.setattr(Quarantine, "stopped", stopped)


@mutant(seed=3)
def a_stop_is_one_of_every_epoch(patch: Patch) -> None:
    """A holder that stopped once counts as stopped for good."""
    original = Election._is_free

    def is_free(self: Election, record: Record) -> bool:
        return record.holder in {holder for holder, _ in self._stopped} or original(self, record)

    patch.setattr(Election, "_is_free", is_free)


# -- promises --------------------------------------------------------------------------------------------------


@mutant("cut_api", seed=8)
def a_promise_is_not_kept(patch: Patch) -> None:
    original = Election._promise

    def promise(self: Election, now: float, asked: Any) -> list[Decision]:
        decisions = original(self, now, asked)
        self._promised_until = -inf
        return decisions

    patch.setattr(Election, "_promise", promise)


@mutant("cut_api", seed=52)
def one_promise_is_enough(patch: Patch) -> None:
    original = Promises.promised

    def promised(self: Promises, number: int, key: str) -> float | None:
        if number in self._rounds:
            self._rounds[number].missing.clear()
        return original(self, number, key)

    patch.setattr(Promises, "promised", promised)


@mutant("cut_api", "partition", seed=13)
def the_unreachable_are_not_asked(patch: Patch) -> None:
    original = Promises.begin
    patch.setattr(Promises, "begin", lambda self, now, excused=(): original(self, now, self.required))


@mutant("newcomer", seed=28)
def a_write_without_an_answer_adds_nobody(patch: Patch) -> None:
    patch.setattr(Promises, "wrote", lambda self, members: None)


@mutant("cut_api", seed=52)
def a_promise_counts_from_its_answer(patch: Patch) -> None:
    original = Term.promised
    patch.setattr(Term, "promised", lambda self, asked_at: original(self, asked_at + TIMING.lease_duration))


@mutant("newcomer", seed=1)
def who_is_not_on_the_list_waits_no_longer(patch: Patch) -> None:
    patch.setattr(Election, "_wait_for", lambda self, record: record.lease_duration)


@mutant("newcomer", seed=32)
def promises_stand_in_for_renewals_for_ever(patch: Patch) -> None:
    patch.setattr(Term, "promised", lambda self, asked_at: self.acknowledged(asked_at))


# -- pods ------------------------------------------------------------------------------------------------------


@mutant(seed=3)
def there_is_no_quarantine(patch: Patch) -> None:
    patch.setattr(Quarantine, "allows", lambda self, pod, now: True)


@mutant("crash", seed=29)
def a_crash_leaves_no_quarantine(patch: Patch) -> None:
    patch.setattr(Quarantine, "begin_unknown", lambda self, now, previous, seconds: None)


@mutant("crash", seed=1)
def the_figure_of_the_lease_is_ignored(patch: Patch) -> None:
    patch.setattr(member_module, "LEAST", 0.1)
    original = Quarantine.begin

    def begin(
        self: Quarantine, now: float, previous: Any, seconds: float, busy: Any = (), unknown_for: float = 0.0
    ) -> None:
        original(self, now, previous, seconds, busy, min(unknown_for, 1.0))

    patch.setattr(Quarantine, "begin", begin)


@mutant(seed=1)
def busy_pods_are_not_named(patch: Patch) -> None:
    patch.setattr(Member, "_busy", lambda self, now: frozenset())


@mutant(seed=0)
def pods_in_quarantine_are_not_named(patch: Patch) -> None:
    patch.setattr(Member, "_busy", lambda self, now: frozenset(self.in_use()))


@mutant("crash", "handover", seed=150)
def what_is_unknown_is_not_passed_on(patch: Patch) -> None:
    patch.setattr(Quarantine, "unknown_for", lambda self, now: 0.0)


@mutant(seed=11)
def a_pod_is_free_when_who_named_it_is_lost(patch: Patch) -> None:
    def lost(self: Quarantine, now: float, holder: str) -> None:
        for claims in self._claims.values():
            claims.pop(holder, None)

    patch.setattr(Quarantine, "lost", lost)


@mutant(seed=76)
def what_was_in_quarantine_is_free_when_the_active_stops(patch: Patch) -> None:
    patch.setattr(Quarantine, "hand_over", lambda self, now: self._claims.clear())


# -- requests --------------------------------------------------------------------------------------------------


@mutant(seed=23)
def everything_is_sent_again(patch: Patch) -> None:
    original = Forwarding.arrived
    patch.setattr(Forwarding, "arrived", lambda self, request, repeatable: original(self, request, repeatable=True))


@mutant(seed=3)
def what_was_not_begun_goes_to_the_end(patch: Patch) -> None:
    def not_begun(self: Forwarding[Any], request: Any) -> None:
        entry = self._handed.pop(request, None)
        if entry is not None:
            self._arrivals += 1
            self._wait(replace(entry, number=self._arrivals))

    patch.setattr(Forwarding, "not_begun", not_begun)


@mutant(seed=3)
def what_was_begun_is_given_back(patch: Patch) -> None:
    """An active that stops says *not begun* of what is in a pod as well."""
    original = Node._ended

    def ended(self: Node) -> None:
        for lease in self.dispatcher.leases():
            self._not_begun(lease.holder)
        original(self)

    patch.setattr(Node, "_ended", ended)


# -- strict pods, and what needs them --------------------------------------------------------------------------


@mutant("newcomer", "partition", "isolate", mode=Mode(serve=True), seed=10)
def who_serves_while_partitioned_has_no_strict_pods(patch: Patch) -> None:
    """What the documentation says of `--ha-on-partition serve`, and no mutant: the promise is weaker."""


@mutant(mode=Mode(late_writes=True), seed=3)
def who_is_frozen_before_it_sends_has_no_strict_pods(patch: Patch) -> None:
    """The other weaker promise of pods that are not strict."""


@mutant(mode=STRICT, seed=20)
def a_strict_pod_takes_a_second_request(patch: Patch) -> None:
    patch.setattr(Pod, "is_busy", lambda self: False)


@mutant(mode=STRICT, seed=3)
def a_strict_pod_forgets_the_epoch(patch: Patch) -> None:
    patch.setattr(Pod, "is_old", lambda self, epoch: False)


@mutant("freeze", mode=STRICT, seed=76)
def a_refused_request_is_lost_and_begun(patch: Patch) -> None:
    """The refusal counts as a failure of a pod that had the request in hand."""
    original = Node._refused

    def refused(self: Node, ticket: Any, pod: str) -> None:
        ticket[1].begin()
        original(self, ticket, pod)

    patch.setattr(Node, "_refused", refused)


@mutant("freeze", mode=STRICT, seed=4)
def a_refused_request_is_answered_and_sent_again(patch: Patch) -> None:
    """The client gets the pod's 503, and the request goes to another pod all the same."""
    original = Node._refused

    def refused(self: Node, ticket: Any, pod: str) -> None:
        ticket[1].settle("failed", self.world.now)
        original(self, ticket, pod)

    patch.setattr(Node, "_refused", refused)
