"""How many CPUs there are, in a container too."""

from __future__ import annotations

from pathlib import Path

from faucet.workers.cpus import available_cpus


def test_cpus(tmp_path: Path) -> None:
    here = available_cpus(tmp_path)
    assert here >= 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cpus(tmp_path) == here
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("10000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 1
