"""Plants each broken rule of faucet/ha in turn, and prints how soon the simulation finds it.

`python -m tests.support.ha_found [NAME …]` ends with 1 if one is not found.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from time import monotonic

import pytest

from tests.support.ha_mutants import MUTANTS, Mutant
from tests.support.ha_sim import Torment, run_seeds
from tests.support.ha_world import Violation

SEEDS = range(400)
"""More than any broken rule has needed."""


def find(mutant: Mutant, seeds: Iterable[int] = SEEDS) -> str:
    """Plant it, and return the violation that it brings about; empty if none of the seeds shows one."""
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        try:
            run_seeds(seeds, lambda seed: Torment(seed, mutant.faults, mutant.mode))
        except Violation as violation:
            return str(violation)
    return ""


def main(names: list[str]) -> int:
    """Return how many of the rules that are named, or of all, were not found broken."""
    missed = 0
    for name in names or MUTANTS:
        began = monotonic()
        found = find(MUTANTS[name])
        missed += not found
        print(f"{monotonic() - began:6.1f} s  {name.replace('_', ' ')}: {found or 'NOT FOUND'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
