"""The rules of faucet/ha one by one, where a story is clearer than a torment."""

from __future__ import annotations

import itertools
from math import inf

import pytest

from faucet.ha.decisions import AskAll, Began, Ended, Read, Reply, Write
from faucet.ha.election import Election
from faucet.ha.member import Member
from faucet.ha.messages import Ask, Freed, Promise, Refusal, Stopped
from faucet.ha.promises import Promises
from faucet.ha.quarantine import Quarantine, quarantine_seconds
from faucet.ha.record import Identity, Lease, Record
from faucet.ha.timing import Timing
from tests.support.ha_forwarding import Forwarding

A, B = Identity("a", "uid-a", "boot-a"), Identity("b", "uid-b", "boot-b")


def election(me: Identity = A, *, serve_partitioned: bool = False) -> Election:
    return Election(
        me, Timing(), address=f"{me.name}:3840", token="t", serve_partitioned=serve_partitioned, chance=lambda: 0.5
    )


def record(holder: Identity | None = B, epoch: int = 7, **fields: object) -> Record:
    known = {"lease_duration": 10.0, "outage_limit": 300.0, "members": {"uid-a": "", "uid-b": ""}, **fields}
    return Record(holder=str(holder) if holder else "", epoch=epoch, **known)  # type: ignore[arg-type]


def active(*, serve_partitioned: bool = False) -> Election:
    """A is the active of epoch 8 since 100, with B as a member; the API has just answered."""
    it = election(serve_partitioned=serve_partitioned)
    it.tick(99.0)
    it.was_read(99.0, Lease(record(None, released_by=str(B)), "1"))
    (write,) = it.tick(100.0)
    assert isinstance(write, Write)
    assert it.was_written(100.1, "2") == [Began(8, record(None, released_by=str(B)))]
    return it


def test_a_lease_that_stays_the_same_is_taken_after_its_duration_and_no_sooner() -> None:
    it = election()
    assert it.tick(0.0) == [Read()]
    it.was_read(0.5, Lease(record(), "1"))
    for now in (2.5, 4.5, 6.5, 8.5):
        assert it.tick(now) == [Read()]
        it.was_read(now, Lease(record(), "1"))
    assert it.wake_at() == 10.5
    assert it.tick(10.49) == []
    (write,) = it.tick(10.5)
    assert isinstance(write, Write)
    assert (write.version, write.record.holder, write.record.epoch) == ("1", str(A), 8)
    assert set(write.record.members) == {"uid-a", "uid-b"}, "B may stand as well"


def test_a_lease_that_is_about_to_change_is_read_soon_and_then_less_and_less_often() -> None:
    it = election()
    it.tick(0.0)
    it.was_read(0.0, Lease(record(), "1"))
    assert it.look_soon(0.5) == []
    reads = []
    while not reads or reads[-1] < 9.0:
        reads.append(it.wake_at())
        assert it.tick(reads[-1]) == [Read()]
        it.was_read(reads[-1], Lease(record(), "1"))
    pauses = [round(after - before, 1) for before, after in itertools.pairwise([0.5, *reads])]
    assert pauses[:9] == [0.1, 0.2, 0.2, 0.3, 0.5, 0.8, 1.1, 1.7, 2.0]


def test_the_active_does_not_look_for_another() -> None:
    it = active()
    before = it.wake_at()
    assert it.look_soon(100.5) == []
    assert it.wake_at() == before


def test_a_change_of_the_lease_begins_the_wait_anew() -> None:
    it = election()
    it.tick(0.0)
    it.was_read(0.0, Lease(record(), "1"))
    it.tick(9.9)
    it.was_read(9.9, Lease(record(beat=1), "2"))
    assert it.tick(10.5) == []
    assert it.tick(11.9) == [Read()]


def test_an_unlisted_member_waits_until_there_can_be_no_promises() -> None:
    it = election()
    it.tick(0.0)
    it.was_read(0.0, Lease(record(members={"uid-b": ""}), "1"))
    assert it.tick(509.0) == [Read()]
    it.was_read(509.0, Lease(record(members={"uid-b": ""}), "1"))
    (write,) = it.tick(10.0 + 300.0 * 10 / 6)
    assert isinstance(write, Write)


@pytest.mark.parametrize(
    ("holder", "at_once"),
    [
        (Identity("a", "uid-a", "earlier"), True),
        (Identity("a", "", "earlier"), False),
        (Identity("a", "uid-b", "earlier"), False),
        (A, False),
    ],
)
def test_the_lease_of_an_earlier_process_of_the_same_pod_is_taken_at_once(holder: Identity, at_once: bool) -> None:
    it = election()
    it.tick(0.0)
    it.was_read(0.0, Lease(record(holder), "1"))
    assert (it.wake_at() <= 0.0) is at_once


def test_grants_end_with_the_term() -> None:
    it = active()
    assert it.may_grant(105.9)
    assert not it.may_grant(106.0), "six seconds after the write was sent"
    assert it.tick(106.0)[0] == Ended(8, "the Lease could not be renewed in time")
    assert not it.may_grant(100.2), "for good"


def test_a_renewal_counts_from_its_sending() -> None:
    it = active()
    (write,) = it.tick(102.1)
    assert isinstance(write, Write)
    assert write.record.beat == 2
    it.was_written(105.0, "3")
    assert it.may_grant(108.05)
    assert not it.may_grant(108.15)


def test_a_later_epoch_ends_an_active_whoever_speaks_of_it() -> None:
    it = active()
    assert it.heard(101.0, 8) == []
    assert it.heard(101.0, 9) == [Ended(8, "there is an active of epoch 9")]


def test_members_promise_only_if_the_api_does_not_answer_them() -> None:
    it = election(B)
    it.tick(0.0)
    it.was_read(0.0, Lease(record(A), "1"))
    assert it.asked(1.0, Ask(7, 1, 10.0)) == [Read()], "it is tried first"
    assert it.was_read(1.1, Lease(record(A), "1")) == [Reply(Refusal(7, 1, "uid-b"))]
    assert it.asked(3.0, Ask(7, 2, 10.0)) == [Read()]
    assert it.tick(3.5) == []
    assert it.tick(4.0) == [Reply(Promise(7, 2, "uid-b"))]
    it.call_failed(5.0)
    it.tick(9.0)
    it.was_read(9.0, Lease(record(A), "1"))
    assert it.tick(13.9) == [Read()], "ten seconds since the Lease was seen first, but not since the promise"
    it.was_read(13.9, Lease(record(A), "1"))
    assert isinstance(it.tick(14.0)[0], Write)


def test_an_earlier_epoch_gets_no_promise() -> None:
    it = election(B)
    it.heard(0.0, 9)
    assert it.asked(1.0, Ask(8, 1, 10.0)) == [Reply(Refusal(9, 1, "uid-b"))]


def test_promises_of_all_members_keep_an_active_going() -> None:
    it = active()
    it.tick(102.1)
    (ask,) = it.tick(103.2)
    assert ask == AskAll(Ask(8, 1, 10.0))
    it.promised(104.0, Promise(8, 1, "uid-b"))
    assert it.may_grant(109.1)
    assert not it.may_grant(109.3), "six seconds after the question"


def test_a_promise_comes_too_late_for_a_term_that_is_over() -> None:
    it = active()
    it.tick(102.1)
    it.tick(105.9)
    assert isinstance(it.promised(106.1, Promise(8, 1, "uid-b"))[0], Ended)
    assert not it.may_grant(106.2)


@pytest.mark.parametrize("serve", [False, True])
def test_an_unreachable_member_ends_the_term_unless_told_to_serve(serve: bool) -> None:
    it = active(serve_partitioned=serve)
    it.unreachable = {"uid-b"}
    it.tick(102.1)
    it.tick(103.2)
    assert it.may_grant(107.0) is serve


def test_releasing_names_the_busy_pods_and_leaves_the_lease_to_others() -> None:
    it = active()
    ended, write = it.release(101.0, ["p1"], 0.5, "handover")
    assert ended == Ended(8, "handover")
    assert isinstance(write, Write)
    assert (write.record.holder, write.record.released_by) == ("", str(A))
    assert (write.record.busy, write.record.unknown_for) == (frozenset({"p1"}), 0.5)
    it.was_written(101.1, "3")
    assert it.tick(101.9) == [Read()]
    it.was_read(101.9, Lease(write.record, "3"))
    assert not isinstance(it.tick(102.5)[0], Write), "another first"


def test_a_renewal_under_way_delays_a_release_and_no_more() -> None:
    it = active()
    it.tick(102.1)
    assert it.release(102.2, [], 0.0, "handover") == [Ended(8, "handover")]
    it.was_written(102.3, "3")
    (write,) = it.tick(102.3)
    assert isinstance(write, Write)
    assert (write.version, write.record.released_by) == ("3", str(A))


def test_a_first_installation_waits_longer_than_who_has_seen_a_lease() -> None:
    fresh, old = election(), election(B)
    old.tick(-1.0)
    old.was_read(-1.0, Lease(record(), "1"))
    for it in (fresh, old):
        it.tick(1.0)
        it.was_read(0.0, None)
        it.tick(9.99)
        it.was_read(9.99, None)
    (write,) = old.tick(10.0)
    assert isinstance(write, Write)
    assert (write.version, write.record.epoch) == ("", 1007)
    assert fresh.tick(14.9) == [Read()]
    fresh.was_read(14.9, None)
    (write,) = fresh.tick(15.0)
    assert isinstance(write, Write)
    assert write.record.epoch == 1


@pytest.mark.parametrize(("members", "seconds"), [({"uid-a": "", "uid-b": ""}, 10.0), ({"uid-b": ""}, 510.0)])
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_lease_that_was_deleted_is_waited_for_as_if_its_holder_lived_on_promises(
    members: dict[str, str], seconds: float, by_hand: bool
) -> None:
    """It may live on them without knowing; who is on its list is asked, others are not."""
    it = election()
    it.tick(0.0)
    it.was_read(0.0, Lease(record(members=members), "1"))
    it.tick(2.0)
    it.was_read(2.0, Lease(Record("", 0, 10.0), "2") if by_hand else None)
    assert it.tick(2.0 + seconds - 0.1) == [Read()]
    it.was_read(2.0 + seconds - 0.1, Lease(Record("", 0, 10.0), "2") if by_hand else None)
    (write,) = it.tick(2.0 + seconds)
    assert isinstance(write, Write)
    assert write.record.epoch == 7 + 1000, "nobody knows how many it has missed"


def test_timing_keeps_terms_apart() -> None:
    with pytest.raises(ValueError, match="must be shorter"):
        Timing(lease_duration=6.0, renew_deadline=6.0)
    assert Timing().drift == pytest.approx(10 / 6)


def test_identities() -> None:
    assert Identity.parse(str(A)) == A
    assert Identity.parse("somebody") is None
    assert Identity.parse("a/b/c/d") is None
    assert (A.key, Identity("a", "", "x").key) == ("uid-a", "a/x")


def test_quarantine_seconds() -> None:
    assert quarantine_seconds(0.1, 60) == 1.0
    assert quarantine_seconds(4.0, 60) == 8.0
    assert quarantine_seconds(400.0, 60) == 60


def test_quarantine_of_a_dead_active_ends_by_time_or_by_its_word() -> None:
    q = Quarantine()
    q.begin_unknown(100.0, ("b", 7), 8.0)
    assert [q.allows("p1", now) for now in (107.9, 108.0)] == [False, True]
    q.stopped(101.0, Stopped(6, "c", frozenset(), 0.0), reports=True)
    assert not q.allows("p1", 101.0), "c knows nothing of epoch 7"
    q.stopped(101.0, Stopped(7, "b", frozenset({"p1"}), 0.0), reports=True)
    assert (q.allows("p2", 101.0), q.allows("p1", 500.0)) == (True, False)
    q.freed(Freed(6, "b", "p1"))
    assert not q.allows("p1", 500.0), "said of an earlier epoch"
    q.freed(Freed(7, "b", "p1"))
    assert q.allows("p1", 101.0)


def test_quarantine_of_a_pod_whose_user_is_lost_ends_by_time() -> None:
    q = Quarantine()
    q.begin(100.0, ("b", 7), 8.0, {"p1"})
    q.stopped(101.0, Stopped(7, "b", frozenset({"p1"}), 0.0), reports=True)
    assert (q.pods(200.0), q.next_change(200.0)) == (frozenset({"p1"}), inf)
    q.lost(200.0, "b")
    assert [q.allows("p1", now) for now in (207.9, 208.0)] == [False, True]
    assert q.carried(200.0) == 8.0
    assert q.carried(208.0) == 0.0


def test_a_member_that_stopped_reports_what_it_frees() -> None:
    it = active()
    member = Member(it, lock_grace=60.0)
    member.granted("p1")
    member.granted("p2")
    assert member.released("p2", 101.0) == [], "the active reports to nobody"
    for decision in member.release(101.0, "handover"):
        member.follow(decision, 101.0)
    assert member.stopped(101.0) == Stopped(8, str(A), frozenset({"p1"}), 0.0)
    assert member.released("p1", 102.0) == [Freed(8, str(A), "p1")]
    assert member.released("p1", 102.0) == []


def test_forwarding_keeps_the_order_of_arrival() -> None:
    f: Forwarding[str] = Forwarding()
    for request in "abcd":
        f.arrived(request, repeatable=request != "b")
    assert [f.next("link") for _ in range(3)] == ["a", "b", "c"]
    f.not_begun("a")
    assert f.next("link") == "a"
    f.answering("a")
    assert f.lost("another") == []
    assert f.lost("link") == ["a", "b"], "a's client has seen something, and b must not be repeated"
    assert [f.next("new") for _ in range(3)] == ["c", "d", None]
    f.done("c")
    f.not_begun("c")
    assert (f.waiting, f.at("new")) == (0, 1)


def test_a_write_without_an_answer_may_have_listed_a_member() -> None:
    p = Promises("a", {"a", "b"})
    p.wrote({"a", "c"})
    assert p.required == {"b", "c"}
    assert p.begin(1.0) == 1
    assert p.promised(1, "b") is None
    assert p.promised(1, "c") == 1.0
    p.acknowledged({"a", "c"})
    assert p.required == {"c"}
