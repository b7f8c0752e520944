"""Notices: each stays for as long as its cause, and says what is wrong in one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faucet.fleet import Exit, Fault, Faults
from faucet.status.notices import (
    CALM,
    CRASH_SECONDS,
    FULL,
    CertificateState,
    LogLoss,
    Queue,
    State,
    is_pressed,
    notices,
)

NOW = 10_000.0
INSTALL = "Rscript -e 'install.packages(\"readr\")'"


def texts(state: State) -> list[str]:
    return [notice.text for notice in notices(state)]


def ended(request: str, ago: float, worker: str = "1") -> Exit:
    return Exit(NOW - ago, worker, f"crashed (SIGSEGV) while serving {request} from 10.0.0.7 after 1.4s", request)


def test_nothing_is_wrong() -> None:
    assert notices(State(NOW, 2, Faults())) == []


def test_a_failed_reload() -> None:
    fault = Fault(NOW - 14, "plumber.R:9:11: unexpected '{'", 2, "all of it")
    (notice,) = notices(State(NOW, 2, Faults(reload=fault)))
    assert notice.text == "reload failed: plumber.R:9:11: unexpected '{'; 2 old workers still serve OLD CODE"
    assert (notice.kind, notice.level, notice.since, notice.detail) == ("reload", "error", NOW - 14, "all of it")
    assert "1 old worker still serves OLD CODE" in texts(State(NOW, 2, Faults(reload=fault._replace(workers=1))))[0]


def test_workers_that_cannot_be_started_and_the_command_that_repairs_it() -> None:
    fault = Fault(NOW - 60, f"The R package readr is missing; install it with: {INSTALL}", 2, command=INSTALL)
    (notice,) = notices(State(NOW, 2, Faults(start=fault)))
    assert notice.text.startswith("no worker can start: The R package readr is missing; ")
    assert notice.command == INSTALL
    assert texts(State(NOW, 3, Faults(start=fault)))[0].startswith("2 of 3 workers cannot start: ")


def test_the_worst_comes_first() -> None:
    fault = Fault(NOW, "x", 1)
    queue = Queue(9, 10, since=NOW)
    every = State(NOW, 2, Faults(fault, fault, fault, (ended("GET /a", 1),) * 2), queue, LogLoss(NOW, "disk full", 7))
    assert [notice.kind for notice in notices(every)] == ["start", "reload", "pods", "queue", "crashes", "log"]


def test_a_queue_under_pressure() -> None:
    held = ("GET /sleep?t=1", "GET /sleep?t=2", "POST /fit", "GET /a/1")
    queue = Queue(90, 100, 45.0, 60.0, 12, NOW - 5, held)
    (notice,) = notices(State(NOW, 4, Faults(), queue))
    assert notice.text == (
        "queue 90 of 100; held up by 2 x GET /sleep, 1 x POST /fit; 12 requests got 503 in the last 10 s; "
        "the first waits 45.0s of 1m00s"
    )
    assert notice.level == "error"
    assert notices(State(NOW, 4, Faults(), queue._replace(refused=0)))[0].level == "warning"
    assert notices(State(NOW, 4, Faults(), queue._replace(since=None))) == []


@given(st.integers(0, 200), st.integers(0, 100), st.floats(0, 100), st.floats(0, 100), st.integers(0, 3))
def test_it_takes_less_to_stay_under_pressure_than_to_come_into_it(
    waiting: int, limit: int, oldest: float, timeout: float, refused: int
) -> None:
    queue = Queue(waiting, limit, oldest, timeout, refused)
    assert is_pressed(queue._replace(since=NOW)) or not is_pressed(queue)
    assert is_pressed(queue) or not refused
    assert not is_pressed(queue._replace(waiting=0, refused=0, since=NOW)), "nobody waits"


def test_pressure_begins_and_ends_at_different_lengths() -> None:
    limit = 100
    assert is_pressed(Queue(int(limit * FULL), limit))
    between = Queue(int(limit * (FULL + CALM) / 2), limit)
    assert not is_pressed(between)
    assert is_pressed(between._replace(since=NOW))
    assert not is_pressed(Queue(int(limit * CALM) - 1, limit, since=NOW))
    assert is_pressed(Queue(1, limit, 30.0, 60.0))
    assert not is_pressed(Queue(1, limit, 30.0, 0.0)), "they wait as long as it takes"


def test_an_endpoint_that_ends_workers_is_named() -> None:
    exits = (ended("GET /segv?x=1", 300), ended("GET /other", 200), ended("GET /segv?x=2", 12, "2"),
             Exit(NOW - 5, "1", "exited with code 1 after 2h03m"))  # fmt: skip
    (notice,) = notices(State(NOW, 2, Faults(exits=exits)))
    assert notice.text == (
        "GET /segv has ended 2 workers; "
        "the latest crashed (SIGSEGV) while serving GET /segv?x=2 from 10.0.0.7 after 1.4s"
    )
    assert notice.detail.splitlines()[1].startswith("worker 2 crashed")
    assert notices(State(NOW + CRASH_SECONDS, 2, Faults(exits=exits))) == []


def test_a_log_that_loses_lines() -> None:
    (notice,) = notices(State(NOW, 2, Faults(), log=LogLoss(NOW - 3, "No space left on device", 1234)))
    assert notice.text == "the log loses lines (No space left on device), 1234 until now"


def test_a_certificate_that_expires_and_one_that_cannot_be_used() -> None:
    fine = CertificateState(15 * 86400.0, "2027-03-01")
    assert notices(State(NOW, 2, Faults(), certificate=fine)) == []
    (soon,) = notices(State(NOW, 2, Faults(), certificate=fine._replace(left=1.5 * 86400)))
    assert (soon.text, soon.level) == ("the certificate expires in 1 day, on 2027-03-01", "warning")
    assert soon.since == NOW - 12.5 * 86400
    (over,) = notices(State(NOW, 2, Faults(), certificate=fine._replace(left=-1.0)))
    assert (over.text, over.level) == ("the certificate expired on 2027-03-01", "error")
    (refused,) = notices(State(NOW, 2, Faults(), certificate=fine._replace(refused="why", refused_since=NOW - 5)))
    assert refused.text == "the certificate on disk is not used, the one before it is: why"
    assert (refused.level, refused.since) == ("error", NOW - 5)
