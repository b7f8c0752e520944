"""What can be seen of a worker."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from faucet.proxy.stats import Stats
from faucet.status.rows import slot_details
from faucet.workers.advice import NONE
from faucet.workers.program import Program


def test_details_of_a_worker_without_a_process_name_no_port(tmp_path: Path) -> None:
    """Port 0 would be wrong: it has none."""
    slot = SimpleNamespace(
        number=1, instance=None, instances=[], exits=["exited with code 1"], stopping=False, next_try=None, failed=True,
        restarts=5, advice=NONE, last_lines=[],
        pool=SimpleNamespace(program=Program(("Rscript", "x.R"), tmp_path, "x")),
    )  # fmt: skip
    details: dict[str, Any] = slot_details(cast("Any", slot), cast("Any", SimpleNamespace(stats=Stats())))
    assert details["environment"]["FAUCET_WORKER_ID"] == "1"
    assert "0" not in details["environment"].values()
