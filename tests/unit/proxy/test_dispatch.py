"""The locks and the queue: each operation, and every interleaving hypothesis can think of."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faucet.proxy.locks import Dispatcher, Grant, LockError, QueueFull
from tests.support.queue_cost import operations


def dispatcher(*workers: str, limit: int = 10, timeout: float | None = None) -> Dispatcher[str, str]:
    made: Dispatcher[str, str] = Dispatcher(limit, timeout)
    for worker in workers:
        assert made.add(worker) is None
    return made


def test_takes_the_worker_that_has_been_free_longest() -> None:
    d = dispatcher("1", "2", "3")
    assert [d.acquire(ticket, 0) for ticket in "abc"] == ["1", "2", "3"]
    for worker, ticket in (("2", "b"), ("3", "c"), ("1", "a")):
        d.release(worker, ticket)
    assert [d.acquire(ticket, 0) for ticket in "def"] == ["2", "3", "1"]


def test_first_come_first_served() -> None:
    d = dispatcher("1")
    assert d.acquire("a", 0) == "1"
    assert [d.acquire(ticket, 0) for ticket in "bcd"] == [None] * 3
    assert repr(d) == "<Dispatcher free[] locked[1:a] held[] queue[b c d]>"
    assert d.release("1", "a") == Grant("b", "1")
    assert d.cancel("c")
    assert not d.cancel("c")
    assert d.release("1", "b") == Grant("d", "1")
    assert d.release("1", "d") is None
    assert repr(d) == "<Dispatcher free[1] locked[] held[] queue[]>"


def test_a_lock_is_released_only_by_its_holder_and_once() -> None:
    d = dispatcher("1", "2")
    d.acquire("a", 0)
    for worker, ticket in (("1", "b"), ("2", "a"), ("3", "a")):
        with pytest.raises(LockError):
            d.release(worker, ticket)
    d.release("1", "a")
    with pytest.raises(LockError):
        d.release("1", "a")


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
    d.acquire("b", 2)
    d.acquire("c", 3)
    assert d.remove("1") == "a"
    assert d.reacquire("a", 99) is None
    assert d.next_expiry() == 13, "with the next in the queue"
    assert d.release("2", "b") == Grant("a", "2")
    assert d.expire(13) == ["c"]
    assert d.remove("2") == "a"
    d.reacquire("a", 20)
    assert d.next_expiry() == 30


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


def test_hold_and_resume() -> None:
    d = dispatcher("1", "2")
    d.hold("1")
    d.hold("1")
    assert d.acquire("a", 0) == "2"
    d.hold("2")
    assert d.acquire("b", 0) is None
    assert d.release("2", "a") is None
    assert d.resume("2") == Grant("b", "2")
    assert d.resume("2") is None
    assert d.resume("1") is None
    assert d.acquire("c", 0) == "1"


def test_resume_of_a_locked_worker_waits_for_its_release() -> None:
    d = dispatcher("1")
    d.acquire("a", 0)
    d.hold("1")
    assert d.resume("1") is None
    d.acquire("b", 0)
    assert d.release("1", "a") == Grant("b", "1")


def test_a_new_worker_serves_who_waits() -> None:
    d = dispatcher()
    d.acquire("a", 0)
    assert d.add("1") == Grant("a", "1")
    with pytest.raises(ValueError, match="here already"):
        d.add("1")


def test_remove_takes_the_lock_with_it() -> None:
    d = dispatcher("1")
    d.acquire("a", 0)
    assert d.remove("1") == "a"
    assert d.remove("1") is None
    with pytest.raises(LockError):
        d.release("1", "a")
    assert d.add("1") is None
    assert d.acquire("b", 0) == "1"


class Interleavings(RuleBasedStateMachine):
    """Any order of operations, checked against a plain list and plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.d: Dispatcher[int, int] = Dispatcher(5, 10.0)
        self.tickets = self.workers_made = 0
        self.now = 0.0
        self.queue: list[int] = []
        self.locked: dict[int, int] = {}
        self.workers: set[int] = set()
        self.held: set[int] = set()

    def granted(self, grant: Grant[int, int] | None) -> None:
        if grant is None:
            return
        assert self.queue.pop(0) == grant.ticket, "not first come first served"
        self.lock(grant.ticket, grant.worker)

    def lock(self, ticket: int, worker: int) -> None:
        assert worker in self.workers - self.held
        assert worker not in self.locked, "a lock given twice"
        self.locked[worker] = ticket

    @rule()
    def acquire(self) -> None:
        self.tickets += 1
        try:
            worker = self.d.acquire(self.tickets, self.now)
        except QueueFull:
            assert len(self.queue) >= 5
            return
        if worker is None:
            self.queue.append(self.tickets)
        else:
            self.lock(self.tickets, worker)

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.locked)))
        self.granted(self.d.release(worker, self.locked.pop(worker)))

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def fail_and_reacquire(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.locked)))
        ticket = self.locked.pop(worker)
        assert self.d.remove(worker) == ticket
        self.workers.discard(worker)
        self.held.discard(worker)
        other = self.d.reacquire(ticket, self.now)
        if other is None:
            self.queue.insert(0, ticket)
        else:
            self.lock(ticket, other)

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
        self.granted(self.d.add(self.workers_made))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), what=st.sampled_from(["hold", "resume", "remove"]))
    def change_worker(self, data: st.DataObject, what: str) -> None:
        worker = data.draw(st.sampled_from(sorted(self.workers)))
        if what == "hold":
            self.d.hold(worker)
            self.held.add(worker)
        elif what == "resume":
            self.held.discard(worker)
            self.granted(self.d.resume(worker))
        else:
            assert self.d.remove(worker) == self.locked.pop(worker, None)
            self.workers.discard(worker)
            self.held.discard(worker)

    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for ticket in self.d.expire(self.now):
            assert self.queue.pop(0) == ticket

    @invariant()
    def agrees(self) -> None:
        assert [ticket for ticket, _ in self.d.queue()] == self.queue
        assert {worker: self.d.holder(worker) for worker in self.locked} == self.locked
        assert (self.d.waiting, self.d.locked, self.d.size) == (len(self.queue), len(self.locked), len(self.workers))
        idle = self.workers - self.held - set(self.locked)
        assert not (idle and self.queue), "someone waits while a worker is free"


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@pytest.mark.quiet
def test_each_operation_takes_the_same_time_however_many_wait() -> None:
    assert operations(10_000) < 2.0 * operations(100)
