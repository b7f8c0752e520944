"""Errors of workers: each belongs to the request that held the lock when it was written."""

from __future__ import annotations

from time import monotonic, time
from types import SimpleNamespace
from typing import Any, cast

from faucet.proxy.record import Account
from faucet.proxy.stats import Stats
from faucet.workers.request_errors import FIRST_INSTANTS, LATE, LIMIT, RequestErrors

BOOM = "<simpleError in g(y): database is locked>"


class Stage:
    """A worker, its lock, and what it writes."""

    def __init__(self) -> None:
        self.lease: Any = None
        self.stats = Stats()
        self.errors = RequestErrors("1", cast("Any", self), self.stats)

    def lock(self, ago: float = 0.5) -> Account:
        account = Account("10.0.0.7", b"GET", b"/boom")
        self.lease = SimpleNamespace(since=monotonic() - ago, holder=SimpleNamespace(account=account))
        return account

    def release(self, ago: float = 0.0) -> None:
        account = self.lease.holder.account
        account.worker, account.status, account.ended = "1", 500, time() - ago
        self.stats.add(account)
        self.lease = None


def test_an_error_is_that_of_the_request_that_holds_the_lock() -> None:
    stage = Stage()
    stage.errors.see("err", "Error: while it started")
    account = stage.lock()
    stage.errors.see("out", "GET /boom")
    stage.errors.see("out", "Error: the first")
    stage.errors.see("out", BOOM)
    stage.errors.see("err", "Execution halted")
    assert account.error == BOOM


def test_one_that_is_read_late_is_not_that_of_the_next_request() -> None:
    stage = Stage()
    first = stage.lock()
    stage.release()
    second = stage.lock(ago=FIRST_INSTANTS / 100)
    stage.errors.see("out", BOOM)
    assert (first.error, second.error) == (BOOM, "")
    stage.lease.since -= 1
    stage.errors.see("out", "Error: another")
    assert (first.error, second.error) == (BOOM, "Error: another")
    stage.release()
    stage.errors.see("out", BOOM)
    assert second.error == BOOM, "while nobody else has the lock"


def test_one_between_requests_is_nobodys() -> None:
    stage = Stage()
    account = stage.lock()
    stage.release(ago=2 * LATE)
    stage.errors.see("out", BOOM)
    assert account.error == ""


def test_a_message_in_the_next_line_belongs_to_it() -> None:
    stage = Stage()
    account = stage.lock()
    for stream, line in (("err", "Error in `g()`:"), ("err", "! database is locked"), ("err", "more")):
        stage.errors.see(stream, line)
    assert account.error == "Error in `g()`: ! database is locked"
    stage.errors.see("err", "Error in f() : ")
    stage.errors.see("out", "of the other stream")
    assert account.error == "Error in f() :"
    stage.errors.see("err", "Error: " + "x" * 10_000)
    assert len(account.error) == LIMIT
