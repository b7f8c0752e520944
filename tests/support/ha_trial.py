"""Three real Faucets with `--ha` on hosts of their own, a real API server, five pods, a steady load, and trouble.

`just ha-trial [SCENARIO[=TIMES] …]`, as root. Each scenario prints what became of the requests, the longest wait, and
for how long no pod had a request. It fails if a pod had two requests at once, by the pods' own notes, if a request
failed that must not, if a POST was sent twice, or if a wait or a pause was longer than it may be.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.ha_trial_net import alone
from tests.support.ha_trial_scenarios import SCENARIOS
from tests.support.ha_trial_site import Trial, trial

SLACK = float(os.environ.get("HA_TRIAL_SLACK", "1"))
"""By how much longer than on a quiet machine a wait may be."""


async def play(them: Trial, name: str) -> bool:
    """Run a scenario under load; whether all was well."""
    scenario = SCENARIOS[name]
    since = await them.begin()
    await scenario.run(them)
    took = time.monotonic() - since
    verdict = await them.verdict(since)
    good = verdict.good(scenario.longest * SLACK, scenario.pause * SLACK)
    load = os.getloadavg()[0]
    print(f"{'ok  ' if good else 'FAIL'} {name} in {took:.1f} s (load {load:.0f}): {verdict}", flush=True)
    for failure in verdict.faults[:5]:
        print(f"     {failure._replace(began=failure.began - since, ended=failure.ended - since)}", flush=True)
    for one, other in verdict.twice_at_once[:5]:
        moments = [round(moment - since, 3) for moment in (one.began, one.ended, other.began, other.ended)]
        print(f"     a pod had {one.request} and {other.request} at once: {moments}", flush=True)
    return good


async def main(wanted: list[tuple[str, int]]) -> int:
    """The exit code."""
    kept = os.environ.get("HA_TRIAL_LOGS")
    with tempfile.TemporaryDirectory(prefix="faucet-trial-") as temporary:
        bad = 0
        async with trial(Path(kept or temporary)) as them:
            for name, times in wanted:
                for _ in range(times):
                    bad += not await play(them, name)
        print(f"{bad} of {sum(times for _, times in wanted)} were not as they must be", flush=True)
        return 1 if bad else 0


def parse(words: list[str]) -> list[tuple[str, int]]:
    """`updates=20 kill` and so on; all scenarios, each once, if there are none."""
    pairs = [word.partition("=") for word in words] or [(name, "", "") for name in SCENARIOS]
    if unknown := [name for name, _, _ in pairs if name not in SCENARIOS]:
        sys.exit(f"no such scenario: {' '.join(unknown)}. There are: {' '.join(SCENARIOS)}")
    return [(name, int(times or 1)) for name, _, times in pairs]


if __name__ == "__main__":
    alone("tests.support.ha_trial")
    sys.exit(asyncio.run(main(parse(sys.argv[1:]))))
