"""Locks with limits: examples, and any order of operations against a plain model."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faucet.proxy.limits import HEAD_START, LimitedDispatcher, RequestClass
from faucet.proxy.locks import Lease, LockError, QueueFull
from tests.support.queue_cost import operations

Limited = LimitedDispatcher[str, str]


def limited(*workers: str, **report: int) -> Limited:
    """A dispatcher with a class `r` for tickets that begin so, one at once unless said otherwise, and all others."""
    at_once, priority = report.get("at_once", 1), report.get("priority", 0)
    kinds: dict[str, RequestClass[str]] = {
        "r": RequestClass("GET /report", report.get("places", 10), 20.0, at_once, priority),
        "q": RequestClass("", 10, 10.0),
    }
    made = LimitedDispatcher[str, str](list(kinds.values()), lambda ticket: kinds[ticket[0]])
    for worker in workers:
        made.add(worker, 0)
    return made


def given(lease: Lease[str, str] | None) -> Lease[str, str]:
    assert lease is not None
    return lease


def test_who_has_waited_elsewhere_is_queued_since_then_but_has_its_lock_since_now() -> None:
    d = limited("1")
    lease = given(d.acquire("q1", 20, 3))
    assert lease.since == 20
    d.acquire("q2", 21, 4)
    d.acquire("q3", 22, 5)
    assert [since for _, since in d.queue()] == [4, 5]


def test_a_limited_class_waits_without_blocking_others() -> None:
    d = limited("1", "2")
    d.acquire("r1", 0)
    assert d.acquire("r2", 1) is None
    assert d.limited_by("r2") == "GET /report"
    assert given(d.acquire("q1", 2)).worker == "2", "behind r2, but it may run"
    assert (d.waiting, d.runnable, d.oldest, d.runnable_since) == (1, 0, 1, None)


def test_its_lock_lets_the_next_of_the_class_run_even_on_another_worker() -> None:
    d = limited("1", "2")
    first = given(d.acquire("r1", 0))
    d.acquire("r2", 1)
    d.hold("1")
    second = given(d.release(first, 2))
    assert (second.holder, second.worker) == ("r2", "2")


def test_a_worker_that_is_gone_takes_the_lock_of_the_class_with_it() -> None:
    d = limited("1", "2")
    first = given(d.acquire("r1", 0))
    d.acquire("r2", 1)
    assert d.remove("1") is first
    assert given(d.after_removal(2)).holder == "r2"
    with pytest.raises(LockError):
        d.release(first, 3)


def test_a_lock_that_is_handed_on_still_counts_for_the_class() -> None:
    """As when a request was cut off, and its worker may still be at work."""
    d = limited("1", "2")
    first = given(d.acquire("r1", 0))
    first.holder = "q9"
    assert d.acquire("r2", 0) is None
    assert given(d.release(first, 1)).holder == "r2"


def test_among_those_that_may_run_the_one_that_waits_longest() -> None:
    d = limited("1", at_once=2)
    first = given(d.acquire("q1", 0))
    for now, ticket in enumerate(("r1", "q2", "r2"), start=1):
        d.acquire(ticket, now)
    order = []
    while first is not None:
        order.append(first.holder)
        first = d.release(first, 9)  # type: ignore[assignment]
    assert order == ["q1", "r1", "q2", "r2"]


def test_a_priority_is_a_head_start() -> None:
    d = limited("1", at_once=9, priority=-1)
    lease = given(d.acquire("q0", 0))
    d.acquire("r1", 0)
    d.acquire("q1", HEAD_START - 1)
    d.acquire("q2", HEAD_START + 1)
    order = []
    for _ in range(3):
        lease = given(d.release(lease, 30))
        order.append(lease.holder)
    assert order == ["q1", "r1", "q2"]
    assert [ticket for ticket, _ in d.queue()] == []


def test_each_class_has_places_and_a_time_of_its_own() -> None:
    d = limited("1", places=1)
    d.acquire("q1", 0)
    d.acquire("r1", 0)
    with pytest.raises(QueueFull):
        d.acquire("r2", 0)
    for ticket in range(10):
        d.acquire(f"q-{ticket}", 1)
    with pytest.raises(QueueFull):
        d.acquire("q-11", 1)
    assert d.queue_limit == 11
    assert d.next_expiry() == 11
    assert len(d.expire(11)) == 10
    assert d.next_expiry() == 20
    assert d.expire(20) == ["r1"]
    assert d.next_expiry() is None


def test_interruptions_and_the_end_empty_all_queues_oldest_first() -> None:
    d = limited()
    for now, ticket in enumerate(("r1", "q1", "r2", "q2")):
        d.acquire(ticket, now)
    assert [ticket for ticket, _ in d.queue()] == ["r1", "q1", "r2", "q2"]
    assert d.expire_since(1) == ["r1", "q1"]
    assert d.clear() == ["r2", "q2"]


def test_limits_of_locks_may_be_left_to_another_faucet() -> None:
    d = limited("1", "2", "3")
    d.acquire("r1", 0)
    assert d.acquire("r2", 1) is d.acquire("r3", 2) is None
    assert [lease.holder for lease in d.enforce(False, 3)] == ["r2", "r3"]
    assert (d.classes[0].locked, d.runnable, d.enforce(True, 4)) == (3, 0, [])
    d.add("4", 5)
    assert d.acquire("r4", 6) is None, "what had a lock before counts"
    assert (d.runnable, d.limited_by("r4")) == (0, "GET /report")


def test_what_a_class_has_to_wait() -> None:
    d = limited("1", "2")
    lease = given(d.acquire("r1", 0))
    d.release(lease, 40)
    d.acquire("r2", 50)
    d.acquire("r3", 50)
    assert d.classes[0].expected_wait(2) == 2 * 40


def test_its_state_can_be_read() -> None:
    d = limited("1")
    d.acquire("r1", 0)
    d.acquire("r2", 0)
    assert repr(d) == "<Dispatcher free[] locked[1:r1] held[] queue[r2] classes[GET /report:1/1[r2] others:0/inf[]]>"


PRIORITIES = (0, 0, 2, -1)
AT_ONCE = (None, 1, 2, 2)
TIMES = (10.0, 25.0, 10.0, None)
PLACES = 4


class Interleavings(RuleBasedStateMachine):
    """Tickets are (class, number); checked against plain lists and sets."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = [
            RequestClass[tuple[int, int]](str(kind), PLACES, TIMES[kind], AT_ONCE[kind], PRIORITIES[kind])
            for kind in range(len(AT_ONCE))
        ]
        self.d: LimitedDispatcher[tuple[int, int], int] = LimitedDispatcher(
            self.kinds, lambda ticket: self.kinds[ticket[0]]
        )
        self.made = self.workers_made = 0
        self.now = 0.0
        self.queues: list[list[tuple[int, int]]] = [[] for _ in self.kinds]
        self.since: dict[tuple[int, int], float] = {}
        self.arrived: dict[tuple[int, int], float] = {}
        self.locked: dict[int, Lease[tuple[int, int], int]] = {}
        self.outside: set[int] = set()  # workers locked out of turn: they count for no class
        self.workers: set[int] = set()
        self.held: set[int] = set()
        self.enforced = True

    def running(self, kind: int) -> int:
        return sum(lease.holder[0] == kind for worker, lease in self.locked.items() if worker not in self.outside)

    def may_run(self, kind: int) -> bool:
        most = AT_ONCE[kind]
        return most is None or self.running(kind) < most or not self.enforced

    def order(self, ticket: tuple[int, int]) -> float:
        return self.since[ticket] - PRIORITIES[ticket[0]] * HEAD_START

    def granted(self, lease: Lease[tuple[int, int], int] | None) -> None:
        """A lease that followed: it is that of the ticket which is next of all whose class may run."""
        if lease is None:
            return
        ticket = lease.holder
        assert self.queues[ticket[0]].pop(0) == ticket, "overtaken within its class"
        assert self.may_run(ticket[0]), "a class over its limit"
        heads = [queue[0] for kind, queue in enumerate(self.queues) if queue and self.may_run(kind)]
        assert all(self.order(ticket) <= self.order(head) for head in heads), "not the next"
        for other in heads:  # nobody starves
            late = max(PRIORITIES[ticket[0]] - PRIORITIES[other[0]], 0) * HEAD_START
            assert self.since[ticket] - self.since[other] <= late
        self.lock(lease)

    def lock(self, lease: Lease[tuple[int, int], int]) -> None:
        assert lease.worker in self.workers - self.held
        assert lease.worker not in self.locked, "a lock given twice"
        assert lease.since == self.now
        self.locked[lease.worker] = lease

    @rule(kind=st.sampled_from(range(len(AT_ONCE))))
    def acquire(self, kind: int) -> None:
        self.made += 1
        ticket = kind, self.made
        self.since[ticket] = self.now
        room = self.may_run(kind)
        try:
            lease = self.d.acquire(ticket, self.now)
        except QueueFull:
            assert len(self.queues[kind]) >= PLACES
            return
        if lease is None:
            self.queues[kind].append(ticket)
        else:
            assert room, "a class over its limit"
            assert not self.queues[kind], "overtaken within its class"
            self.lock(lease)

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.locked)))
        lease = self.locked.pop(worker)
        self.outside.discard(worker)
        self.granted(self.d.release(lease, self.now))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        """As a health check does."""
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        self.made += 1
        lease = self.d.take(worker, (0, self.made), self.now)
        assert (lease is not None) == (worker not in self.locked and worker not in self.held)
        if lease is not None:
            self.lock(lease)
            self.outside.add(worker)

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def fail_and_reacquire(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.locked)))
        lease = self.locked.pop(worker)
        asks = worker not in self.outside
        self.outside.discard(worker)
        assert self.d.remove(worker) is lease
        self.workers.discard(worker)
        self.held.discard(worker)
        self.granted(self.d.after_removal(self.now))
        if not asks:
            return
        ticket = lease.holder
        other = self.d.reacquire(ticket, self.since[ticket], self.now)
        if other is None:
            queue = self.queues[ticket[0]]
            if queue:
                self.since[ticket] = min(self.since[ticket], self.since[queue[0]])
            queue.insert(0, ticket)
        else:
            assert self.may_run(ticket[0])
            self.lock(other)

    @precondition(lambda self: any(self.queues))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([ticket for queue in self.queues for ticket in queue]))
        assert self.d.cancel(ticket)
        assert not self.d.cancel(ticket)
        self.queues[ticket[0]].remove(ticket)

    @rule()
    def add(self) -> None:
        self.workers_made += 1
        self.workers.add(self.workers_made)
        self.granted(self.d.add(self.workers_made, self.now))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), what=st.sampled_from(["hold", "resume", "remove"]))
    def change_worker(self, data: st.DataObject, what: str) -> None:
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        if what == "hold":
            self.d.hold(worker)
            self.held.add(worker)
        elif what == "resume":
            self.held.discard(worker)
            self.granted(self.d.resume(worker, self.now))
        else:
            assert self.d.remove(worker) is self.locked.pop(worker, None)
            self.outside.discard(worker)
            self.workers.discard(worker)
            self.held.discard(worker)
            self.granted(self.d.after_removal(self.now))

    @rule(enforced=st.sampled_from([False, True, True, True]))
    def enforce(self, enforced: bool) -> None:
        """As when this Faucet is the active no more, and then again."""
        self.enforced = enforced
        for lease in self.d.enforce(enforced, self.now):
            self.granted(lease)

    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for ticket in self.d.expire(self.now):
            assert self.queues[ticket[0]].pop(0) == ticket
        for kind, queue in enumerate(self.queues):
            patience = TIMES[kind]
            assert patience is None or all(self.since[ticket] > self.now - patience for ticket in queue)

    @invariant()
    def agrees(self) -> None:
        waiting = [ticket for queue in self.queues for ticket in queue]
        assert sorted(ticket for ticket, _ in self.d.queue()) == sorted(waiting)
        assert all(self.since[ticket] == since for ticket, since in self.d.queue())
        orders = [self.order(ticket) for ticket, _ in self.d.queue()]
        assert orders == sorted(orders)
        assert [list(kind.queue) for kind in self.kinds] == self.queues
        assert [kind.locked for kind in self.kinds] == [self.running(kind) for kind in range(len(AT_ONCE))]
        assert {lease.worker: lease for lease in self.d.leases()} == self.locked
        assert (self.d.waiting, self.d.locked, self.d.size) == (len(waiting), len(self.locked), len(self.workers))
        assert self.d.oldest == min((self.since[ticket] for ticket in waiting), default=None)

    @invariant()
    def no_worker_is_free_while_somebody_may_run(self) -> None:
        idle = self.workers - self.held - set(self.locked)
        may = [ticket for kind, queue in enumerate(self.queues) if self.may_run(kind) for ticket in queue]
        assert not (idle and may)
        assert self.d.runnable_since == min((self.since[ticket] for ticket in may), default=None)
        assert (self.d.runnable > 0) == bool(may)
        for kind, queue in enumerate(self.queues):
            assert all((self.d.limited_by(ticket) == "") == self.may_run(kind) for ticket in queue)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@pytest.mark.quiet
def test_each_operation_takes_the_same_time_however_many_wait() -> None:
    def dispatcher(places: int) -> LimitedDispatcher[int, int]:
        kinds = [RequestClass[int](str(kind), places, 60.0, kind + 1) for kind in range(10)]
        return LimitedDispatcher(kinds, lambda ticket: kinds[ticket % 10])

    assert operations(10_000, dispatcher) < 3.0 * operations(100, dispatcher)
