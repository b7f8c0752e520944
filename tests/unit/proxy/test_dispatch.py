"""The locks and the queue: each operation, and every interleaving hypothesis can think of."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faucet.proxy.locks import Dispatcher, Lease, LockError, QueueFull
from tests.support.queue_cost import operations


def dispatcher(*workers: str, limit: int = 10, timeout: float | None = None) -> Dispatcher[str, str]:
    made: Dispatcher[str, str] = Dispatcher(limit, timeout)
    for worker in workers:
        assert made.add(worker, 0) is None
    return made


def given(lease: Lease[str, str] | None) -> Lease[str, str]:
    assert lease is not None
    return lease


def told(lease: Lease[str, str] | None) -> str:
    """`b 1`: who got which worker."""
    return "" if lease is None else f"{lease.holder} {lease.worker}"


def test_takes_the_worker_that_has_been_free_longest() -> None:
    d = dispatcher("1", "2", "3")
    a, b, c = (given(d.acquire(ticket, 0)) for ticket in "abc")
    assert [lease.worker for lease in (a, b, c)] == ["1", "2", "3"]
    for lease in (b, c, a):
        d.release(lease, 0)
    assert [given(d.acquire(ticket, 0)).worker for ticket in "def"] == ["2", "3", "1"]


def test_first_come_first_served() -> None:
    d = dispatcher("1")
    a = given(d.acquire("a", 0))
    assert told(a) == "a 1"
    assert [d.acquire(ticket, 0) for ticket in "bcd"] == [None] * 3
    assert repr(d) == "<Dispatcher free[] locked[1:a] held[] queue[b c d]>"
    b = given(d.release(a, 5))
    assert (told(b), b.since) == ("b 1", 5)
    assert d.cancel("c")
    assert not d.cancel("c")
    last = given(d.release(b, 6))
    assert told(last) == "d 1"
    assert d.release(last, 7) is None
    assert repr(d) == "<Dispatcher free[1] locked[] held[] queue[]>"


def test_a_lease_is_released_once() -> None:
    d = dispatcher("1", "2")
    lease = given(d.acquire("a", 0))
    for other in (Lease("a", "1", 0), Lease("a", "2", 0), Lease("a", "3", 0)):
        with pytest.raises(LockError):
            d.release(other, 0)
    d.release(lease, 0)
    d.acquire("a", 0)
    given(d.acquire("a", 0))
    with pytest.raises(LockError):
        d.release(lease, 0)


def test_a_lock_that_is_handed_on_was_never_free() -> None:
    d = dispatcher("1")
    lease = given(d.acquire("a", 0))
    d.acquire("b", 0)
    lease.holder = "clock"
    assert repr(d) == "<Dispatcher free[] locked[1:clock] held[] queue[b]>"
    assert told(d.release(lease, 1)) == "b 1"


def test_take_is_out_of_turn_but_only_of_a_free_worker() -> None:
    d = dispatcher("1", "2", "3")
    assert told(d.take("2", "check", 0)) == "check 2"
    assert d.take("2", "check", 0) is None
    d.hold("3")
    assert d.take("3", "check", 0) is None
    assert d.take("4", "check", 0) is None
    assert told(d.acquire("a", 0)) == "a 1"


def test_queue_limit() -> None:
    d = dispatcher("1", limit=1)
    d.acquire("a", 0)
    d.acquire("b", 0)
    before = repr(d)
    with pytest.raises(QueueFull):
        d.acquire("c", 0)
    assert repr(d) == before


def test_reacquire_goes_to_the_head_and_past_the_limit() -> None:
    d = dispatcher("1", "2", limit=1, timeout=10)
    d.acquire("a", 1)
    b = given(d.acquire("b", 2))
    d.acquire("c", 3)
    assert told(d.remove("1")) == "a 1"
    assert d.reacquire("a", 1, 5) is None
    assert d.next_expiry() == 11, "its first wait counts"
    assert told(d.release(b, 6)) == "a 2"
    assert d.expire(13) == ["c"]
    d.acquire("d", 14)
    assert told(d.remove("2")) == "a 2"
    assert d.reacquire("a", 20, 20) is None
    assert d.next_expiry() == 24, "not after the next in the queue"


def test_reacquire_of_a_free_worker() -> None:
    d = dispatcher("1", "2", limit=0)
    d.acquire("a", 1)
    d.remove("1")
    lease = given(d.reacquire("a", 1, 7))
    assert (told(lease), lease.since) == ("a 2", 7)


def test_who_has_waited_elsewhere_is_queued_since_then_but_has_its_lock_since_now() -> None:
    d = dispatcher("1", timeout=10)
    assert given(d.acquire("a", 20, 12)).since == 20
    d.acquire("b", 21, 15)
    assert d.next_expiry() == 25


def test_expire() -> None:
    d = dispatcher("1", timeout=10)
    d.acquire("a", 0)
    assert d.next_expiry() is None
    for now, ticket in enumerate("bcd"):
        d.acquire(ticket, now)
    assert d.next_expiry() == 10
    assert d.expire(9.9) == []
    assert d.expire(11) == ["b", "c"]
    assert d.next_expiry() == 12
    assert dispatcher("1").next_expiry() is None


def test_without_a_timeout_nobody_expires() -> None:
    d = dispatcher("1")
    d.acquire("a", 0)
    d.acquire("b", 0)
    assert d.next_expiry() is None
    assert d.expire(1e9) == []
    assert d.waiting == 1


def test_clear_empties_the_queue_and_tells_who_was_in_it() -> None:
    d = dispatcher("1")
    for ticket in "abc":
        d.acquire(ticket, 0)
    assert d.clear() == ["b", "c"]
    assert d.clear() == []
    assert repr(d) == "<Dispatcher free[] locked[1:a] held[] queue[]>"


def test_a_worker_that_is_added_held_serves_when_it_is_resumed() -> None:
    d = dispatcher()
    d.acquire("a", 0)
    assert d.add("1", 0, held=True) is None
    assert repr(d) == "<Dispatcher free[] locked[] held[1] queue[a]>"
    assert told(d.resume("1", 0)) == "a 1"


def test_a_hold_ends_with_its_worker() -> None:
    d = dispatcher("1")
    d.hold("1")
    d.hold("2")
    assert repr(d) == "<Dispatcher free[] locked[] held[1] queue[]>", "nobody holds what is not there"
    d.remove("1")
    assert repr(d) == "<Dispatcher free[] locked[] held[] queue[]>"
    d.add("1", 0)
    assert repr(d) == "<Dispatcher free[1] locked[] held[] queue[]>"


def test_hold_and_resume() -> None:
    d = dispatcher("1", "2")
    d.hold("1")
    d.hold("1")
    a = given(d.acquire("a", 0))
    assert told(a) == "a 2"
    d.hold("2")
    assert d.acquire("b", 0) is None
    assert d.release(a, 0) is None
    assert told(d.resume("2", 0)) == "b 2"
    assert d.resume("2", 0) is None
    assert d.resume("1", 0) is None
    assert told(d.acquire("c", 0)) == "c 1"


def test_resume_of_a_locked_worker_waits_for_its_release() -> None:
    d = dispatcher("1")
    a = given(d.acquire("a", 0))
    d.hold("1")
    assert d.resume("1", 0) is None
    d.acquire("b", 0)
    assert told(d.release(a, 0)) == "b 1"


def test_a_new_worker_serves_who_waits() -> None:
    d = dispatcher()
    d.acquire("a", 0)
    assert told(d.add("1", 0)) == "a 1"
    with pytest.raises(ValueError, match="here already"):
        d.add("1", 0)


def test_remove_takes_the_lock_with_it() -> None:
    d = dispatcher("1")
    a = given(d.acquire("a", 0))
    assert d.remove("1") is a
    assert d.remove("1") is None
    with pytest.raises(LockError):
        d.release(a, 0)
    assert d.add("1", 0) is None
    assert told(d.acquire("b", 0)) == "b 1"


class Interleavings(RuleBasedStateMachine):
    """Any order of operations, checked against a plain list and plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.d: Dispatcher[int, int] = Dispatcher(5, 10.0)
        self.tickets = self.workers_made = 0
        self.now = 0.0
        self.queue: list[int] = []
        self.locked: dict[int, Lease[int, int]] = {}
        self.waiting_since: dict[int, float] = {}
        self.workers: set[int] = set()
        self.held: set[int] = set()

    def granted(self, lease: Lease[int, int] | None) -> None:
        if lease is None:
            return
        assert self.queue.pop(0) == lease.holder, "not first come first served"
        self.lock(lease)

    def lock(self, lease: Lease[int, int]) -> None:
        assert lease.worker in self.workers - self.held
        assert lease.worker not in self.locked, "a lock given twice"
        assert lease.since == self.now
        self.locked[lease.worker] = lease

    @rule()
    def acquire(self) -> None:
        self.tickets += 1
        self.waiting_since[self.tickets] = self.now
        try:
            lease = self.d.acquire(self.tickets, self.now)
        except QueueFull:
            assert len(self.queue) >= 5
            return
        if lease is None:
            self.queue.append(self.tickets)
        else:
            self.lock(lease)

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.locked)))
        self.granted(self.d.release(self.locked.pop(worker), self.now))

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def fail_and_reacquire(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.locked)))
        lease = self.locked.pop(worker)
        assert self.d.remove(worker) is lease
        self.workers.discard(worker)
        self.held.discard(worker)
        ticket = lease.holder
        other = self.d.reacquire(ticket, self.waiting_since[ticket], self.now)
        if other is None:
            self.queue.insert(0, ticket)
        else:
            self.lock(other)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.queue))
        assert self.d.cancel(ticket)
        self.queue.remove(ticket)

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
            self.workers.discard(worker)
            self.held.discard(worker)

    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for ticket in self.d.expire(self.now):
            assert self.queue.pop(0) == ticket
        for ticket in self.queue:
            assert self.waiting_since[ticket] > self.now - 10.0, "it has waited too long, in all"

    @invariant()
    def agrees(self) -> None:
        assert [ticket for ticket, _ in self.d.queue()] == self.queue
        assert {lease.worker: lease for lease in self.d.leases()} == self.locked
        assert all(self.d.lease(worker) is lease for worker, lease in self.locked.items())
        since = [moment for _, moment in self.d.queue()]
        assert since == sorted(since), "the queue is not in the order of expiry"
        assert (self.d.waiting, self.d.locked, self.d.size) == (len(self.queue), len(self.locked), len(self.workers))
        idle = self.workers - self.held - set(self.locked)
        assert not (idle and self.queue), "someone waits while a worker is free"


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@pytest.mark.quiet
def test_each_operation_takes_the_same_time_however_many_wait() -> None:
    assert operations(10_000) < 2.0 * operations(100)


def test_a_ticket_that_waited_elsewhere_goes_behind_all_others_and_the_queue_stays_in_order_of_expiry() -> None:
    dispatcher: Dispatcher[str, str] = Dispatcher(10, 5.0)
    dispatcher.acquire("a", 10.0)
    dispatcher.acquire("b", 10.5, 7.0)
    dispatcher.acquire("c", 11.0)
    assert list(dispatcher.queue()) == [("a", 10.0), ("b", 10.0), ("c", 11.0)]
    assert dispatcher.expire(15.5) == ["a", "b"]


def test_tickets_that_came_back_one_by_one_are_put_in_order() -> None:
    dispatcher: Dispatcher[str, str] = Dispatcher(10, 5.0)
    since = {"a": 1.0, "b": 2.0, "c": 3.0}
    dispatcher.acquire("c", 3.0)
    for ticket in "ab":
        dispatcher.reacquire(ticket, since[ticket], 4.0)
    assert [ticket for ticket, _ in dispatcher.queue()] == ["b", "a", "c"]
    dispatcher.reorder(lambda ticket: since[ticket])
    assert list(dispatcher.queue()) == [*since.items()]
