"""What is wrong with slots until further notice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from faucet.fleet import Exit
from faucet.workers.advice import Advice
from faucet.workers.faults import failed_reload, failed_starts
from faucet.workers.rolling import FailedRoll
from faucet.workers.slot import ReplaceError, Slot

PARSE = ["Error in parse(file, keep.source = FALSE) : ", "  plumber.R:9:11: unexpected '{'", "Execution halted"]


def slot(number: int, began: float | None = None, failed_starts: int = 0, **more: Any) -> Slot:
    """A slot; with a process in service since `began`."""
    instance = None if began is None else SimpleNamespace(in_service=True, loaded=began)
    known = {"failing_since": 50.0 + number, "advice": Advice(), "last_lines": [], "exits": [], **more}
    return cast("Slot", _Slot(number=number, instance=instance, in_service=instance is not None,
                              failed_starts=failed_starts, **known))  # fmt: skip


class _Slot(SimpleNamespace):
    def __str__(self) -> str:
        return str(self.number)


def test_a_failed_reload_matters_while_old_workers_serve() -> None:
    error = ReplaceError("exited with code 1 after 0.9s\n  | ...", said="Error: plumber.R:9:11: unexpected '{'")
    failed = FailedRoll(100.0, 101.0, "rolling restart by a change of plumber.R", error)
    assert failed_reload([slot(1, 10.0)], None) is None
    fault = failed_reload([slot(1, 10.0), slot(2, 200.0), slot(3)], failed)
    assert fault is not None
    assert (fault.since, fault.workers, fault.fact) == (101.0, 1, "Error: plumber.R:9:11: unexpected '{'")
    assert fault.detail.startswith("rolling restart by a change of plumber.R: exited with code 1")
    assert failed_reload([slot(1, 200.0), slot(3)], failed) is None, "all have been started since"


def test_failed_starts_tell_what_r_said() -> None:
    assert failed_starts([slot(1, 10.0, failed_starts=1), slot(2)]) is None
    one = slot(1, failed_starts=2, last_lines=PARSE, exits=[Exit(1.0, "1", "exited with code 1 after 0.9s")])
    fault = failed_starts([one, slot(2, failed_starts=1), slot(3, 10.0)])
    assert fault is not None
    assert (fault.workers, fault.since) == (2, 51.0)
    assert fault.fact == "plumber.R:9:11: unexpected '{'"
    assert fault.detail.splitlines()[0] == "worker 1 exited with code 1 after 0.9s"
    known = failed_starts([slot(1, failed_starts=1, advice=Advice("readr", "The R package readr is missing", "R -e"))])
    assert known is not None
    assert (known.fact, known.command) == ("The R package readr is missing", "R -e")
