"""The memory of workers is measured, and those that keep growing are named in the log and in a notice."""

from __future__ import annotations

import os
from time import time

import pytest

from faucet.fleet import Faults, WorkerStatus
from faucet.proxy.record import Account
from faucet.status import leaks as leaks_module
from faucet.status.growth import PERIOD, PERIODS, SETTLES
from faucet.status.leaks import EVERY, Leaks, resident
from faucet.status.notices import State, notices

MIB = 1 << 20
WHOLE = SETTLES + (PERIODS + 1) * PERIOD


def worker(name: str, pid: int) -> WorkerStatus:
    return WorkerStatus(key=name, name=name, state="ready", backend=None, pid=pid)


def request(name: str, target: bytes, ended: float) -> Account:
    account = Account("127.0.0.1", b"GET", target)
    account.worker, account.ended = name, ended
    return account


def test_the_size_of_a_process() -> None:
    assert 5 * MIB < resident(os.getpid()) < 5000 * MIB
    assert resident(2**22 + 1) == 0, "there is no such process"


def test_the_one_that_grows_is_named_with_its_endpoint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = {11: 100.0, 12: 100.0}
    monkeypatch.setattr(leaks_module, "resident", lambda pid: int(sizes[pid] * MIB))
    leaks, now, recent = Leaks(), 0.0, []
    while now < WHOLE:
        assert leaks.is_due(now)
        grows = int(now / EVERY) % 5 == 0
        sizes[12] += 4 if grows else 0
        recent = [request(name, b"/ping?x=1", time() + now) for name in ("1", "2")]
        running = [request("2", b"/report/17", 0.0)] if grows else []
        leaks.look(now, [worker("1", 11), worker("2", 12)], recent, running)
        assert not leaks.is_due(now + 1)
        now += EVERY
    (found,) = leaks.found()
    assert (found.worker, found.leak.endpoint) == ("2", "GET /report/<n>")
    assert [text for text in caplog.messages if text.startswith("worker 2 keeps growing: from ")] == caplog.messages
    (notice,) = notices(State(now, 2, Faults(), leaks=leaks.found()))
    assert (notice.kind, notice.level) == ("memory", "warning")
    assert notice.text.endswith(", mostly during GET /report/<n>")
    assert "--max-rss" in notice.detail
    leaks.look(now, [worker("1", 11), worker("2", 13)], recent, []) if sizes.setdefault(13, 90.0) else None
    assert leaks.found() == (), "it was replaced"
