"""What becomes of a request in each failure: all of them, with all that can be known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from faucet.proxy.failures import MAX_CONNECTS, STALE_SECONDS, Event, Facts, Fate, Lock, Loss, Phase, Verdict, after

BOTH = (False, True)
AGAIN = (Fate.RETRY, Fate.RESEND, Fate.WAIT)
NOT_SENT = (Event.CONNECT_FAILED, Event.NO_DESCRIPTOR)
CLIENTS = (Event.CLIENT_GONE, Event.CLIENT_HALF_CLOSED)


def losses() -> Iterator[Loss]:
    for fresh, begun, unread, supervised, ended, link in product(BOTH, repeat=6):
        if not (begun and unread):
            yield Loss(fresh, begun, unread, supervised, ended, link)


def everything() -> Iterator[tuple[Event, Facts]]:
    """All combinations that can be: who was sent a part of the answer was sent something."""
    sent = [(False, False), (True, False), (True, True)]
    for waiting, (told, relayed), repeatable, policy in product(BOTH, sent, BOTH, ("safe", "always", "none")):
        known = Facts(Phase.ACTIVE, waiting, told, relayed, repeatable=repeatable, policy=policy)
        for loss, exited, age in product(losses(), BOTH, (0.0, 2 * STALE_SECONDS)):
            facts = known._replace(loss=loss, exited=exited, age=age)
            yield Event.LINK_LOST if loss.link else Event.WORKER_ENDED, facts
        for late, endable, connected, connects in product(BOTH, BOTH, BOTH, (1, MAX_CONNECTS)):
            facts = known._replace(client_late=late, endable=endable, connected=connected, connects=connects)
            for event in OTHERS:
                yield event, facts


OTHERS = set(Event) - {*CLIENTS, Event.WORKER_ENDED, Event.LINK_LOST, Event.EXIT_KNOWN}


def verdicts() -> Iterator[tuple[Event, Facts, Verdict]]:
    """Each failure of an active request; the exit of a worker only where somebody waits to know it."""
    for event, facts in everything():
        verdict = after(event, facts)
        yield event, facts, verdict
        if (verdict.fate is Fate.WAIT or verdict.lock is Lock.AWAIT_EXIT) and not facts.exited:
            for exited in BOTH:
                later = facts._replace(waiting=verdict.fate is Fate.WAIT, exited=exited and not facts.loss.link)
                yield Event.EXIT_KNOWN, later, after(Event.EXIT_KNOWN, later)


Every = list[tuple[Event, Facts, Verdict]]


@pytest.fixture(scope="session")
def every() -> Every:
    return list(verdicts())


def test_all_of_them_are_decided(every: Every) -> None:
    assert len(every) > 10_000
    assert {event for event, _, _ in every} | set(CLIENTS) == set(Event)
    assert {verdict.fate for _, _, verdict in every} == set(Fate)
    assert {verdict.lock for _, _, verdict in every} == set(Lock)


def test_a_refusal_costs_others_a_small_multiple_of_the_time_it_took() -> None:
    assert Loss(fresh=True, begun=False, held=0.01).refused_for == pytest.approx(0.2)


def test_nothing_is_sent_twice_that_might_change_something_twice(every: Every) -> None:
    for event, facts, verdict in every:
        if verdict.fate in AGAIN and event not in NOT_SENT:
            assert facts.repeatable, (event, facts)
            assert facts.policy != "none", (event, facts)


def test_what_the_client_has_seen_a_part_of_is_not_sent_again(every: Every) -> None:
    for event, facts, verdict in every:
        if verdict.fate in AGAIN and event not in NOT_SENT:
            assert not facts.told, (event, facts)


def test_never_half_an_answer_that_looks_whole(every: Every) -> None:
    for event, facts, verdict in every:
        assert not (verdict.fate is Fate.ANSWER and facts.relayed), (event, facts)
        assert verdict.fate is not Fate.CUT or facts.told, (event, facts)


def test_whoever_waits_is_told_and_nobody_else(every: Every) -> None:
    for event, facts, verdict in every:
        if facts.waiting:
            assert verdict.fate is not Fate.OVER, (event, facts)
        else:
            assert verdict.fate in (Fate.OVER, Fate.GOES_ON), (event, facts)
        assert (verdict.status > 0) == (verdict.fate is Fate.ANSWER)


def test_no_lock_is_given_back_while_the_worker_may_be_at_work(every: Every) -> None:
    for event, facts, verdict in every:
        if verdict.lock is not Lock.RELEASE or event in (*NOT_SENT, Event.SHUTDOWN):
            continue
        if event is Event.BUG:
            assert not facts.connected, facts
        else:
            assert facts.loss.unread or facts.loss.request_ended, (event, facts)


def test_only_a_worker_that_has_read_nothing_gets_the_same_request_again(every: Every) -> None:
    for event, facts, verdict in every:
        if verdict.fate is Fate.RESEND:
            assert facts.loss.unread or facts.loss.request_ended, (event, facts)
            assert not facts.exited, (event, facts)


def test_a_request_that_may_have_ended_its_worker_meets_no_second_one(every: Every) -> None:
    for event, facts, verdict in every:
        if event is Event.EXIT_KNOWN and facts.exited and facts.loss.supervised:
            assert facts.loss.unread or facts.policy == "always" or verdict.fate not in AGAIN, facts


def test_the_number_of_tries_is_bounded(every: Every) -> None:
    for event, facts, verdict in every:
        if event is Event.CONNECT_FAILED and facts.connects >= MAX_CONNECTS:
            assert verdict.fate is not Fate.RETRY, facts


def test_only_a_worker_that_can_be_ended_is(every: Every) -> None:
    for event, facts, verdict in every:
        if verdict.lock is Lock.REPLACE:
            assert facts.endable, (event, facts)
        if verdict.lock is Lock.GRACE:
            assert not facts.endable, (event, facts)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("body_done", BOTH)
def test_a_client_that_leaves(phase: Phase, body_done: bool) -> None:
    """The worker goes on computing; that is no reason to give its lock back."""
    facts = Facts(phase, waiting=False, body_done=body_done)
    gone = after(Event.CLIENT_GONE, facts)
    assert gone.fate is Fate.OVER
    assert gone.lock is (Lock.HEAR_OUT if phase is Phase.ACTIVE else Lock.AS_IT_IS)
    half = after(Event.CLIENT_HALF_CLOSED, facts._replace(waiting=True))
    assert half.lock is not Lock.RELEASE
    if phase is Phase.QUEUED and body_done:
        assert (half.fate, half.status) == (Fate.ANSWER, 503)
    else:
        assert half.fate is (Fate.GOES_ON if body_done else Fate.OVER)


IDLE = Loss(fresh=False, begun=False)
"""A kept connection that ends without an answer."""
FRESH = Loss(fresh=True, begun=False)
UNREAD = IDLE._replace(unread=True)
OURS = FRESH._replace(supervised=True)
HALF = Loss(fresh=True, begun=True)
OLD = 2 * STALE_SECONDS

GET = Facts(Phase.ACTIVE, repeatable=True)
POST = Facts(Phase.ACTIVE)
LEFT = Facts(Phase.ACTIVE, waiting=False)
BEGUN = Facts(Phase.ACTIVE, told=True, relayed=True)
HINTED = Facts(Phase.ACTIVE, told=True, repeatable=True)
"""Somebody who has been sent 103 Early Hints, and nothing of the answer."""

EXAMPLES = [
    # Nothing was sent: whatever it is goes to another worker, five times.
    (Event.CONNECT_FAILED, POST._replace(connects=1), Fate.RETRY, Lock.RELEASE, 0),
    (Event.CONNECT_FAILED, POST._replace(connects=MAX_CONNECTS - 1), Fate.RETRY, Lock.RELEASE, 0),
    (Event.CONNECT_FAILED, POST._replace(connects=MAX_CONNECTS), Fate.ANSWER, Lock.RELEASE, 502),
    (Event.CONNECT_FAILED, LEFT._replace(connects=1), Fate.OVER, Lock.RELEASE, 0),
    (Event.NO_DESCRIPTOR, GET, Fate.ANSWER, Lock.RELEASE, 503),
    (Event.NO_DESCRIPTOR, LEFT, Fate.OVER, Lock.RELEASE, 0),
    # A worker that ends the connection: is it dead, and did the request kill it?
    (Event.WORKER_ENDED, GET._replace(loss=IDLE), Fate.WAIT, Lock.AWAIT_EXIT, 0),
    (Event.WORKER_ENDED, GET._replace(loss=IDLE, age=STALE_SECONDS), Fate.ANSWER, Lock.KEEP_BRIEFLY, 502),
    (Event.WORKER_ENDED, GET._replace(loss=UNREAD, age=OLD), Fate.WAIT, Lock.AWAIT_EXIT, 0),
    (Event.WORKER_ENDED, GET._replace(loss=FRESH), Fate.ANSWER, Lock.KEEP_BRIEFLY, 502),
    (Event.WORKER_ENDED, GET._replace(loss=FRESH._replace(unread=True)), Fate.ANSWER, Lock.RELEASE, 502),
    (Event.WORKER_ENDED, GET._replace(loss=OURS, age=OLD), Fate.WAIT, Lock.AWAIT_EXIT, 0),
    (Event.WORKER_ENDED, GET._replace(loss=OURS._replace(begun=True)), Fate.ANSWER, Lock.AWAIT_EXIT, 502),
    (Event.WORKER_ENDED, GET._replace(loss=HALF, policy="always"), Fate.WAIT, Lock.AWAIT_EXIT, 0),
    (Event.WORKER_ENDED, GET._replace(loss=OURS, policy="none"), Fate.ANSWER, Lock.AWAIT_EXIT, 502),
    (Event.WORKER_ENDED, POST._replace(loss=OURS), Fate.ANSWER, Lock.AWAIT_EXIT, 502),
    (Event.WORKER_ENDED, POST._replace(loss=OURS, policy="always"), Fate.ANSWER, Lock.AWAIT_EXIT, 502),
    (Event.WORKER_ENDED, POST._replace(loss=IDLE._replace(request_ended=True)), Fate.ANSWER, Lock.RELEASE, 502),
    (Event.WORKER_ENDED, HINTED._replace(loss=IDLE), Fate.ANSWER, Lock.KEEP_BRIEFLY, 502),
    (Event.WORKER_ENDED, BEGUN._replace(loss=HALF), Fate.CUT, Lock.KEEP, 0),
    (Event.WORKER_ENDED, LEFT._replace(loss=OURS, repeatable=True), Fate.OVER, Lock.AWAIT_EXIT, 0),
    # A moment later it is known whether its process has exited.
    (Event.EXIT_KNOWN, GET._replace(loss=OURS, exited=True), Fate.ANSWER, Lock.AS_IT_IS, 502),
    (Event.EXIT_KNOWN, GET._replace(loss=OURS, exited=True, policy="always"), Fate.RETRY, Lock.AS_IT_IS, 0),
    (Event.EXIT_KNOWN, GET._replace(loss=OURS._replace(unread=True), exited=True), Fate.RETRY, Lock.AS_IT_IS, 0),
    (Event.EXIT_KNOWN, GET._replace(loss=IDLE, exited=True), Fate.RETRY, Lock.AS_IT_IS, 0),
    (Event.EXIT_KNOWN, GET._replace(loss=OURS), Fate.RETRY, Lock.KEEP_BRIEFLY, 0),
    (Event.EXIT_KNOWN, GET._replace(loss=UNREAD), Fate.RESEND, Lock.AS_IT_IS, 0),
    (Event.EXIT_KNOWN, GET._replace(loss=FRESH._replace(unread=True)), Fate.RETRY, Lock.RELEASE, 0),
    (Event.EXIT_KNOWN, GET._replace(loss=IDLE._replace(link=True)), Fate.RETRY, Lock.AS_IT_IS, 0),
    (Event.EXIT_KNOWN, LEFT._replace(loss=OURS, exited=True), Fate.OVER, Lock.AS_IT_IS, 0),
    (Event.EXIT_KNOWN, LEFT._replace(loss=OURS), Fate.OVER, Lock.KEEP_BRIEFLY, 0),
    (Event.EXIT_KNOWN, LEFT._replace(loss=OURS._replace(begun=True)), Fate.OVER, Lock.KEEP, 0),
    (Event.EXIT_KNOWN, LEFT._replace(loss=UNREAD), Fate.OVER, Lock.RELEASE, 0),
    # Behind a lost link the worker may go on.
    (Event.LINK_LOST, GET, Fate.WAIT, Lock.KEEP, 0),
    (Event.LINK_LOST, GET._replace(policy="none"), Fate.ANSWER, Lock.KEEP, 502),
    (Event.LINK_LOST, POST, Fate.ANSWER, Lock.KEEP, 502),
    (Event.LINK_LOST, HINTED, Fate.ANSWER, Lock.KEEP, 502),
    (Event.LINK_LOST, BEGUN, Fate.CUT, Lock.KEEP, 0),
    (Event.LINK_LOST, LEFT._replace(repeatable=True), Fate.OVER, Lock.KEEP, 0),
    (Event.BAD_RESPONSE, GET, Fate.ANSWER, Lock.HEAR_OUT, 502),
    (Event.BAD_RESPONSE, BEGUN, Fate.CUT, Lock.HEAR_OUT, 0),
    (Event.BAD_RESPONSE, LEFT, Fate.OVER, Lock.HEAR_OUT, 0),
    # Too long: whose fault is it, and can the worker be ended?
    (Event.TIMED_OUT, POST, Fate.ANSWER, Lock.REPLACE, 504),
    (Event.TIMED_OUT, POST._replace(connected=False), Fate.GOES_ON, Lock.AS_IT_IS, 0),
    (Event.TIMED_OUT, BEGUN, Fate.CUT, Lock.REPLACE, 0),
    (Event.TIMED_OUT, POST._replace(endable=False), Fate.ANSWER, Lock.GRACE, 504),
    (Event.TIMED_OUT, POST._replace(endable=False, connected=False), Fate.GOES_ON, Lock.AS_IT_IS, 0),
    (Event.TIMED_OUT, POST._replace(client_late=True), Fate.ANSWER, Lock.HEAR_OUT, 408),
    (Event.TIMED_OUT, BEGUN._replace(client_late=True, endable=False), Fate.CUT, Lock.HEAR_OUT, 0),
    (Event.TIMED_OUT, LEFT, Fate.OVER, Lock.REPLACE, 0),
    # Clients that leave, and what they leave behind.
    (Event.CLIENT_GONE, LEFT, Fate.OVER, Lock.HEAR_OUT, 0),
    (Event.CLIENT_GONE, LEFT._replace(phase=Phase.QUEUED), Fate.OVER, Lock.AS_IT_IS, 0),
    (Event.CLIENT_HALF_CLOSED, POST, Fate.GOES_ON, Lock.AS_IT_IS, 0),
    (Event.CLIENT_HALF_CLOSED, POST._replace(phase=Phase.QUEUED), Fate.ANSWER, Lock.AS_IT_IS, 503),
    (Event.CLIENT_HALF_CLOSED, POST._replace(body_done=False), Fate.OVER, Lock.HEAR_OUT, 0),
    (Event.CLIENT_HALF_CLOSED, POST._replace(phase=Phase.READING, body_done=False), Fate.OVER, Lock.AS_IT_IS, 0),
    # The end, and the unforeseen.
    (Event.SHUTDOWN, POST, Fate.ANSWER, Lock.RELEASE, 503),
    (Event.SHUTDOWN, BEGUN, Fate.CUT, Lock.RELEASE, 0),
    (Event.BUG, POST, Fate.ANSWER, Lock.KEEP, 500),
    (Event.BUG, POST._replace(connected=False), Fate.ANSWER, Lock.RELEASE, 500),
    (Event.BUG, HINTED, Fate.CUT, Lock.KEEP, 0),
    (Event.BUG, LEFT, Fate.OVER, Lock.KEEP, 0),
]


@pytest.mark.parametrize(("event", "facts", "fate", "lock", "status"), EXAMPLES)
def test_examples(event: Event, facts: Facts, fate: Fate, lock: Lock, status: int) -> None:
    assert after(event, facts) == Verdict(fate, lock, status)


def test_the_client_is_told_how_the_worker_ended() -> None:
    assert FRESH.detail == "The worker ended the connection without an answer."
    assert HALF.detail == "The worker ended its answer before it was complete."
    crash = "crashed (SIGSEGV)"
    assert FRESH._replace(exit=crash).detail == "The worker crashed (SIGSEGV) without an answer."
    assert HALF._replace(exit=crash).detail == "The worker crashed (SIGSEGV) before its answer was complete."
