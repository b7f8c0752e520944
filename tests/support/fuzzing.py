"""`just fuzz`: mutants for as long as you like. What it finds belongs into a test."""

from __future__ import annotations

import secrets
import sys
from time import monotonic

from tests.support.mutants import fuzz

BATCH = 10_000


def main(rounds: int) -> None:
    """Run in batches, each with a seed of its own, which is printed so that a failure can be repeated."""
    began, tried, accepted = monotonic(), 0, 0
    while tried < rounds:
        seed = secrets.randbits(32)
        print(
            f"\r{tried} mutants, {accepted} requests accepted, {monotonic() - began:.0f} s, seed {seed} ",
            end="",
            flush=True,
        )
        batch = fuzz(min(BATCH, rounds - tried), seed)
        tried += batch[0]
        accepted += batch[1]
    print(f"\n{tried} mutants, {accepted} requests accepted and confirmed by h11, no disagreement")


if __name__ == "__main__":
    main(int(sys.argv[1]))
