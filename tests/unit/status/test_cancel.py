"""The end of one queued request: named by a number that only requests get that somebody has looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from faucet.control.commands import Commands
from faucet.fleet import Refused
from faucet.proxy.locks import Dispatcher
from faucet.proxy.record import Account
from faucet.status.collect import Runtime


def runtime_with(*targets: bytes) -> tuple[Runtime, list[Any]]:
    """A runtime with these requests in its queue, and the list of those that were cancelled."""
    dispatcher: Dispatcher[Any, Any] = Dispatcher(10)
    for target in targets:
        account = Account("10.0.0.7", b"GET", target)
        dispatcher.acquire(Waiting(account), 1.0)
    ended: list[Any] = []
    pool = SimpleNamespace(dispatcher=dispatcher, cancel=ended.append)
    proxy = SimpleNamespace(pool=pool)
    return Runtime(cast("Any", proxy), cast("Any", None), cast("Any", None), "", "", "local", "", 1, print), ended


class Waiting:
    """What holds a place in the queue."""

    def __init__(self, account: Account) -> None:
        self.account = account


def test_it_is_the_one_with_that_number() -> None:
    runtime, ended = runtime_with(b"/a", b"/b")
    numbers = [row.number for row in runtime.queue()]
    assert numbers == [row.number for row in runtime.queue()] == [1, 2]
    said = Commands(runtime).run({"do": "cancel", "request": 2, "who": "a test"})
    assert said == "cancelled GET /b from 10.0.0.7: its client gets 503"
    assert [holder.account.target for holder in ended] == [b"/b"]


def test_what_nobody_has_looked_at_has_no_number() -> None:
    runtime, ended = runtime_with(b"/a")
    for number in (0, 1, -1):
        with pytest.raises(Refused, match="is not queued: a worker has it, or it is over"):
            Commands(runtime).run({"do": "cancel", "request": number})
    assert not ended
