"""Everything bad at once, for a minute (20 s outside of CI): nothing is lost that could be kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.chaos import chaos, report
from tests.support.needs import IN_CI


@pytest.mark.slow
@pytest.mark.quiet
@pytest.mark.timeout(300)
async def test_chaos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(1 << 30)
    tally = await chaos(tmp_path, 60 if IN_CI else 20, seed)
    with capsys.disabled():
        print(f"\nchaos, seed {seed}\n{report(tally)}")
    assert not tally.wrong, f"seed {seed}"
