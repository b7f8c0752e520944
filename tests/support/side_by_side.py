"""Tests in several processes, all or those that pytest's options select; those that failed there, once more and alone.

Most tests wait, for R and for timers, so six processes share two cores well. Tests that measure time have the mark
`quiet` and run alone anyway; but any test may fail for want of a core when the machine does something else. What fails
beside others and passes alone is printed as such, and is worth a look; what fails alone fails the run.
"""

from __future__ import annotations

import os
import subprocess
import sys

PROCESSES = 6

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
"""Set in many containers. Faucet would then be compiled at each of its hundreds of starts, which takes a third of the
start's CPU time, and the tests themselves in each process."""

SOME_FAILED = 1
"""pytest's exit code."""


def main(options: list[str]) -> int:
    """The exit code of pytest."""
    os.environ.pop(NO_BYTECODE, None)
    pytest = [sys.executable, "-m", "pytest", *options]
    code = subprocess.run([*pytest, "-n", str(PROCESSES)], check=False).returncode
    if code != SOME_FAILED:
        return code
    print("\nTests that failed beside others, once more and alone:", flush=True)
    return subprocess.run([*pytest, "--last-failed", "--last-failed-no-failures", "none"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
