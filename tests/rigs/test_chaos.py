"""Everything bad at once, for 20 s (`just chaos 300`: longer): nothing is lost that could be kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.chaos import chaos, report


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_chaos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.randrange(1 << 30)
    tally = await chaos(tmp_path, 20, seed)
    with capsys.disabled():
        print(f"\nchaos, seed {seed}\n{report(tally)}")
    assert not tally.wrong, f"seed {seed}"
